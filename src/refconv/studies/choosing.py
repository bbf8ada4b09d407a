"""Choosing a method's settings by the validation split.

The mean of the last evaluation over the selection seeds decides; not the best evaluation of a run, which would favour
what fluctuates most. A setting with which a run diverged cannot be chosen. Among equals the first of the grid wins.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.records import Record
from refconv.studies.measures import Measure
from refconv.studies.study import Method


@dataclass(frozen=True)
class Tried(Record):
    """One combination of settings that was tried.

    Attributes:
        point: the values.
        scores: the measure on the validation split, one per selection seed; None where the run diverged.
    """

    point: dict[str, Any]
    scores: tuple[float | None, ...]

    @property
    def mean(self) -> float | None:
        """The mean over the seeds; None if a run diverged."""
        scores = [score for score in self.scores if score is not None]
        return math.fsum(scores) / len(scores) if scores and len(scores) == len(self.scores) else None


def best(tried: Sequence[Tried], measure: Measure) -> Tried | None:
    """Return what did best in the mean; None if nothing got through.

    Args:
        tried: the combinations, in the order of the grid.
        measure: what the scores are.
    """
    sign = 1 if measure.larger_is_better else -1
    through = [(sign * one.mean, one) for one in tried if one.mean is not None]
    return max(through, key=lambda pair: pair[0])[1] if through else None


def edges(method: Method, point: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the settings whose chosen value is the smallest or largest number of its grid: a better one may lie beyond.

    Args:
        method: with its grid.
        point: the chosen values.
    """
    found = []
    for name, values in method.grid.items():
        numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if len(numbers) > 1 and point[name] in {min(numbers), max(numbers)}:
            found.append(name)
    return tuple(found)
