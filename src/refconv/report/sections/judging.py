"""When a difference counts: against its standard error, never by its size alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

from refconv.report.elements import Change

SURE = NormalDist().inv_cdf(0.975)
"""Standard errors to either side that hold 95 % of a normal distribution."""

_STUDENT = (
    12.71, 4.30, 3.18, 2.78, 2.57, 2.45, 2.36, 2.31, 2.26, 2.23, 2.20, 2.18, 2.16, 2.14, 2.13,
    2.12, 2.11, 2.10, 2.09, 2.09, 2.08, 2.07, 2.07, 2.06, 2.06, 2.06, 2.05, 2.05, 2.05, 2.04,
)  # fmt: skip
"""The same of Student's distribution, for 1 to 30 degrees of freedom."""


@dataclass(frozen=True)
class Difference:
    """What a number changed by, and how far that can be trusted.

    Attributes:
        value: after less before; None if one of them is not defined.
        error: its standard error; None if it is not known.
        reach: standard errors that a difference by chance reaches in one of twenty cases.
    """

    value: float | None
    error: float | None
    reach: float = SURE

    def judged(self, *, lower: bool = False) -> Change:
        """Return whether that is better or worse.

        Args:
            lower: whether the lower number is the better one.

        Example:
            >>> Difference(-0.3, 0.1).judged(lower=True), Difference(-0.1, 0.1).judged(lower=True)
            ('better', 'unclear')
        """
        if self.value is None:
            return "unclear"
        if self.value == 0:
            return "same"
        if self.error is None or abs(self.value) <= self.reach * self.error:
            return "unclear"
        return "better" if (self.value < 0) == lower else "worse"


def student(samples: int) -> float:
    """Return how many standard errors of a mean of so many samples hold 95 %.

    Example:
        >>> student(2), student(10), round(student(100), 2)
        (12.71, 2.26, 1.96)
    """
    return _STUDENT[samples - 2] if 2 <= samples <= len(_STUDENT) + 1 else SURE if samples > 1 else math.inf


def paired(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Return the mean of after - before, value by value, with its standard error.

    Args:
        before: numbers that belong together with those of `after`, two or more.
        after: as many.

    Example:
        >>> paired([1.0, 2.0], [2.0, 4.0])
        Difference(value=1.5, error=0.5, reach=12.71)
    """
    values = [second - first for first, second in zip(before, after, strict=True)]
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Difference(mean, math.sqrt(variance / len(values)), student(len(values)))


def share_error(share: float, samples: int) -> float:
    """Return the standard error of a share of samples, after Agresti and Coull (1998): two of each kind are added.

    Shares of 0 and 1 have an error, too.

    Example:
        >>> round(share_error(0.5, 96), 3), round(share_error(1.0, 96), 4)
        (0.05, 0.014)
    """
    count = samples + 4
    middle = (share * samples + 2) / count
    return math.sqrt(middle * (1 - middle) / count)


def share_interval(share: float, samples: int) -> tuple[float, float]:
    """Return the 95 % interval that belongs to it, within 0 and 1."""
    middle = (share * samples + 2) / (samples + 4)
    reach = SURE * share_error(share, samples)
    return max(0.0, middle - reach), min(1.0, middle + reach)


def agreed(changes: Sequence[Change]) -> Change:
    """Return what several changes say together: what all of them say, else that it cannot be told.

    Example:
        >>> agreed(["better", "better"]), agreed(["better", "unclear"])
        ('better', 'unclear')
    """
    return changes[0] if len(set(changes)) == 1 else "unclear"
