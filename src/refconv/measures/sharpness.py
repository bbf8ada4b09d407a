"""Sharpness: how much the loss rises around a model, as one number with its spread over directions.

The records; what they are computed from is in ``analysis/sharpness.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.conditions import Conditions
from refconv.measures.tables import number, text_table
from refconv.records import Record


@dataclass(frozen=True)
class Spread(Record):
    """Numbers, one a direction, and what they say together.

    Attributes:
        values: one per direction, in the unit of the loss.
        mean: their mean.
        deviation: their standard deviation, with n - 1.
        error: standard error of the mean, deviation / sqrt(n).
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    error: float

    def __str__(self) -> str:
        return f"{number(self.mean)} +- {number(self.error)}"


@dataclass(frozen=True)
class ModelSharpness(Record):
    """How sharply the loss rises around one model.

    Attributes:
        as_is: the model's own loss, nothing recalibrated.
        centre: the same with batch norms recalibrated, from which rises are counted.
        rise: per direction; may be negative where the model is no minimum of this loss.
    """

    as_is: float
    centre: float
    rise: Spread


@dataclass(frozen=True)
class Sharpness(Record):
    """Sharpness of two models over the same directions.

    Attributes:
        radius: relative distance r that every filter moved.
        before: the first model.
        after: the second.
        difference: of the rises, after - before, direction by direction; below 0 where the second model is flatter.
        conditions: what losses were measured on.
        seed: of the directions.
    """

    radius: float
    before: ModelSharpness
    after: ModelSharpness
    difference: Spread
    conditions: Conditions
    seed: int

    def __str__(self) -> str:
        rows = [
            (title, number(model.as_is, 4), number(model.centre, 4), str(model.rise), number(model.rise.deviation))
            for title, model in (("before", self.before), ("after", self.after))
        ]
        rows.append(("after - before", "", "", str(self.difference), number(self.difference.deviation)))
        header = ("model", "loss as it is", "recalibrated", "mean rise", "deviation")
        count = len(self.difference.values)
        return f"{text_table(header, rows)}\n{count} directions, radius {number(self.radius)}; {self.conditions}"
