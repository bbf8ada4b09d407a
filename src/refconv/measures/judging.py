"""When a difference counts: against its standard error, never by its size alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from refconv.measures.findings import Change

SURE = 1.959963984540054
"""Standard errors to either side that hold 95 % of a normal distribution."""

SURENESS: dict[Change, str] = {
    "better": "beyond chance",
    "worse": "beyond chance",
    "different": "beyond chance",
    "same": "no difference",
    "unclear": "within chance",
}
"""What a judgement of a difference means, in words."""


@dataclass(frozen=True)
class Difference:
    """What a number changed by, and how far that can be trusted."""

    value: float | None  #: after less before; None if one of them is not defined
    #: its standard error; None if it is not known. Zero, of values that are all equal, is no knowledge either
    error: float | None
    reach: float = SURE  #: standard errors that a difference by chance reaches in one of twenty cases

    @property
    def p(self) -> float | None:
        """Two-sided, by a normal distribution scaled to the reach; None if the error is not known."""
        if self.value is None or not self.error or not math.isfinite(self.reach):
            return None
        return math.erfc(abs(self.value) / self.error * SURE / self.reach / math.sqrt(2))

    def judged(self, *, lower: bool = False) -> Change:
        """Return whether that is better or worse, where ``lower`` says that the lower number is the better one.

        Example:
            >>> Difference(-0.3, 0.1).judged(lower=True), Difference(-0.1, 0.1).judged(lower=True)
            ('better', 'unclear')
        """
        if self.value is None:
            return "unclear"
        if self.value == 0:
            return "same"
        if not self.error or abs(self.value) <= self.reach * self.error:
            return "unclear"
        return "better" if (self.value < 0) == lower else "worse"


def student(samples: int) -> float:
    """Return how many standard errors of a mean of so many samples hold 95 %.

    Example:
        >>> round(student(2), 2), round(student(10), 2), round(student(33), 3)
        (12.71, 2.26, 2.037)
    """
    from scipy.special import stdtrit

    return float(stdtrit(samples - 1, 0.975)) if samples > 1 else math.inf


def paired(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Return the mean of after - before, value by value, of two values or more, with its standard error.

    Example:
        >>> found = paired([1.0, 2.0], [2.0, 4.0])
        >>> found.value, found.error, round(found.reach, 2)
        (1.5, 0.5, 12.71)
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
    """Return what all of several changes say, else that it cannot be told."""
    return changes[0] if len(set(changes)) == 1 else "unclear"
