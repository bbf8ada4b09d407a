"""How the loss rises around two models, point by point."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from refconv.measures.findings import Change
from refconv.measures.pairs import Measured

NEARLY_ALL = 0.95


@dataclass(frozen=True)
class Rises:
    """Rises of the loss over its middle, at points where both are finite.

    Attributes:
        first: mean rise around the first model; None if nothing can be compared.
        second: around the second.
        points: how many points.
        lower: at how many of them the second rises less.
        equal: at how many they rise alike.
    """

    first: float | None
    second: float | None
    points: int
    lower: int
    equal: int

    @property
    def judged(self) -> Change:
        """What that says: better where the second rises less at nearly all points."""
        if not self.points:
            return "unclear"
        if self.equal == self.points:
            return "same"
        if self.lower >= NEARLY_ALL * self.points:
            return "better"
        higher = self.points - self.lower - self.equal
        return "worse" if higher >= NEARLY_ALL * self.points else "unclear"


def line_rises(first: Measured, second: Measured, first_side: str, second_side: str) -> Rises:
    """Return the rises along a line, of one side of each of two pairs."""
    return _rises(
        *(
            (item.record.distances, getattr(item.record, side).losses)
            for item, side in ((first, first_side), (second, second_side))
        )
    )


def surface_rises(first: Measured, second: Measured, first_side: str, second_side: str) -> Rises:
    """Return the rises over a plane, of one side of each of two pairs."""
    sides = ((first, first_side), (second, second_side))
    return _rises(
        *(
            (item.record.distances, [loss for row in getattr(item.record, side).losses for loss in row])
            for item, side in sides
        )
    )


Losses = tuple[Sequence[float], Sequence[float | None]]
"""Distances that a model walked, and its losses, the middle one in the middle."""


def _rises(one: Losses, other: Losses) -> Rises:
    (distances, first), (others, second) = one, other
    middle = len(first) // 2
    nothing = Rises(None, None, 0, 0, 0)
    if list(distances) != list(others):
        return nothing
    start, end = first[middle], second[middle]
    if start is None or end is None:
        return nothing
    pairs = [
        (here - start, there - end)
        for place, (here, there) in enumerate(zip(first, second, strict=True))
        if here is not None and there is not None and place != middle
    ]
    if not pairs:
        return nothing
    return Rises(
        first=math.fsum(here for here, _ in pairs) / len(pairs),
        second=math.fsum(there for _, there in pairs) / len(pairs),
        points=len(pairs),
        lower=sum(there < here for here, there in pairs),
        equal=sum(there == here for here, there in pairs),
    )
