"""Findings, verdicts on claims, and when a difference counts: by its standard error or a test, never by its size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from refconv.records import Record

Change = Literal["better", "worse", "different", "same", "unclear"]
"""What a finding says: a change for the better or the worse, one that is neither, none, or that it cannot be told."""

Support = Literal["supported", "contradicted", "undecided"]  #: What a pair of models says of a claim


@dataclass(frozen=True)
class Finding(Record):
    """One sentence on one pair of models; ``p``: how often chance alone gives such a difference, None if not tested."""

    pair: str
    text: str
    change: Change
    p: float | None = None


@dataclass(frozen=True)
class Claim(Record):
    """What a source claims of refocusing, and per pair whether it supports the claim, with a sentence why."""

    says: str
    source: str
    verdicts: dict[str, tuple[Support, str]]


@dataclass(frozen=True)
class Judgement(Record):
    """What a measure says: at least one finding per pair, the headline first, and the claim on it, if there is one."""

    findings: tuple[Finding, ...]
    claim: Claim | None = None


SURE = 1.959963984540054  #: Standard errors to either side that hold 95 % of a normal distribution

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
    error: float | None  #: its standard error; None if it is not known, and zero, of equal values, tells nothing either
    reach: float = SURE  #: standard errors that a difference by chance reaches in one of twenty cases

    @property
    def p(self) -> float | None:
        """Two-sided, by a normal distribution scaled to the reach; None if the error is not known."""
        if self.value is None or not self.error or not math.isfinite(self.reach):
            return None
        return math.erfc(abs(self.value) / self.error * SURE / self.reach / math.sqrt(2))

    def judged(self, *, lower: bool = False) -> Change:
        """Return whether that is better or worse, where ``lower`` says that the lower number is the better one."""
        if self.value is None:
            return "unclear"
        if self.value == 0:
            return "same"
        if not self.error or abs(self.value) <= self.reach * self.error:
            return "unclear"
        return "better" if (self.value < 0) == lower else "worse"


def student(samples: int) -> float:
    """Return how many standard errors of a mean of so many samples hold 95 %."""
    from scipy.special import stdtrit

    return float(stdtrit(samples - 1, 0.975)) if samples > 1 else math.inf


def paired(before: Sequence[float], after: Sequence[float]) -> Difference:
    """Return the mean of after - before, value by value, of two values or more, with its standard error."""
    values = [second - first for first, second in zip(before, after, strict=True)]
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return Difference(mean, math.sqrt(variance / len(values)), student(len(values)))


def share_error(share: float, samples: int) -> float:
    """Return the standard error of a share of samples, after Agresti and Coull (1998): two of each kind are added.

    Shares of 0 and 1 have an error, too.
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


LEVEL = 0.95  #: Of the interval


@dataclass(frozen=True)
class PairedDifference:
    """Two shares of the same n samples: b gained, c lost, the interval of second - first, and McNemar's exact p."""

    samples: int
    first: float
    second: float
    gained: int
    lost: int
    low: float
    high: float
    p: float

    @property
    def difference(self) -> float:
        """The second share less the first, -1 to 1."""
        return (self.gained - self.lost) / self.samples

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero."""
        return not self.low <= 0 <= self.high


def paired_difference(both: int, gained: int, lost: int, neither: int, level: float = LEVEL) -> PairedDifference:
    """Return the difference between two shares of the same samples, with an interval and a test.

    Two models are right or wrong on the same n samples, so their accuracies p_1 and p_2 go up and down together. With a
    samples right in both, b right only in the second, c only in the first, d in neither:

        D = p_2 - p_1 = (b - c) / n.

    The interval is method 10 of Newcombe (Statistics in Medicine 17, 2635-2650, 1998): Wilson's intervals (l, u) of
    the two shares, squared and added with their correlation phi,

        low  = D - sqrt((p_2 - l_2)^2 - 2 phi (p_2 - l_2) (u_1 - p_1) + (u_1 - p_1)^2)
        high = D + sqrt((u_2 - p_2)^2 - 2 phi (u_2 - p_2) (p_1 - l_1) + (p_1 - l_1)^2)
        phi  = A / sqrt((a + b) (c + d) (a + c) (b + d)),   A = a d - b c, and max(A - n / 2, 0) where that is positive.

    It stays sensible with few changed samples and with shares near 1, where the usual normal interval does not.
    """
    n = both + gained + lost + neither
    first, second = (both + lost) / n, (both + gained) / n
    low_1, high_1 = wilson(both + lost, n, level)
    low_2, high_2 = wilson(both + gained, n, level)
    phi = _correlation(both, gained, lost, neither)
    difference = (gained - lost) / n
    low = difference - _square_and_add(second - low_2, high_1 - first, phi)
    high = difference + _square_and_add(high_2 - second, first - low_1, phi)
    return PairedDifference(n, first, second, gained, lost, low, high, mcnemar(gained, lost))


def counts(record: Any) -> PairedDifference:
    """Return the accuracies of a record of agreement, before and after, with the interval of their difference."""
    return paired_difference(record.both_right, record.gained, record.lost, record.both_wrong)


def mcnemar(gained: int, lost: int) -> float:
    """Return McNemar's exact two-sided p: how surprising the split of the changed samples is if a coin decides each."""
    from scipy.stats import binomtest

    total = gained + lost
    return float(binomtest(gained, total).pvalue) if total else 1.0


def wilson(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's interval of a share: all shares p with |hits / n - p| <= z sqrt(p (1 - p) / n)."""
    from scipy.stats import binomtest

    found = binomtest(hits, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


def _correlation(both: int, gained: int, lost: int, neither: int) -> float:
    n = both + gained + lost + neither
    margins = (both + gained) * (lost + neither) * (both + lost) * (gained + neither)
    if not margins:
        return 0.0
    excess = float(both * neither - gained * lost)
    return (max(excess - n / 2, 0.0) if excess > 0 else excess) / math.sqrt(margins)


def _square_and_add(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(one * one - 2 * phi * one * other + other * other, 0.0))
