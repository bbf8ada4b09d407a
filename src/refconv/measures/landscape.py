"""The loss around two models: along one random direction, or over the plane of two.

The records; what they are computed from is in ``analysis/landscape.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.conditions import Conditions
from refconv.measures.tables import number, text_table
from refconv.records import Record


@dataclass(frozen=True)
class ModelLine(Record):
    """The loss of one model along a direction.

    Attributes:
        as_is: the model's own loss, nothing recalibrated.
        losses: at each distance, batch norms recalibrated; None where the loss is not finite.
    """

    as_is: float
    losses: tuple[float | None, ...]


@dataclass(frozen=True)
class LossLine(Record):
    """The loss of two models along one shared direction.

    Attributes:
        distances: relative to every filter's norm, -radius to radius with 0 in the middle.
        before: the first model.
        after: the second.
        conditions: what losses were measured on.
        seed: of the direction.
    """

    distances: tuple[float, ...]
    before: ModelLine
    after: ModelLine
    conditions: Conditions
    seed: int

    def __str__(self) -> str:
        rows = [
            (number(distance), number(first, 4), number(second, 4))
            for distance, first, second in zip(self.distances, self.before.losses, self.after.losses, strict=True)
        ]
        rows.append(("as it is", number(self.before.as_is, 4), number(self.after.as_is, 4)))
        return f"{text_table(('distance', 'before', 'after'), rows)}\n{self.conditions}"


@dataclass(frozen=True)
class ModelSurface(Record):
    """The loss of one model over a plane.

    Attributes:
        as_is: the model's own loss, nothing recalibrated.
        losses: a row per distance along the first direction, a column per distance along the second; batch norms
            recalibrated; None where the loss is not finite.
    """

    as_is: float
    losses: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class LossSurface(Record):
    """The loss of two models over the plane of two shared directions.

    Attributes:
        distances: along either direction, relative to every filter's norm.
        before: the first model.
        after: the second.
        conditions: what losses were measured on.
        seed: of the directions; the first is that of the line of the same seed.
    """

    distances: tuple[float, ...]
    before: ModelSurface
    after: ModelSurface
    conditions: Conditions
    seed: int

    def __str__(self) -> str:
        header = ("along", *map(number, self.distances))
        parts = []
        for title, surface in (("before", self.before), ("after", self.after)):
            rows = [
                (number(distance), *map(number, losses))
                for distance, losses in zip(self.distances, surface.losses, strict=True)
            ]
            parts.append(f"{title}, as it is {number(surface.as_is, 4)}\n{text_table(header, rows)}")
        return "\n".join([*parts, str(self.conditions)])
