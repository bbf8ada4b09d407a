"""The difference between two shares of the same samples, with an interval and a test.

Two models are right or wrong on the same n samples, so their accuracies p_1 and p_2 go up and down together. With a
samples right in both, b right only in the second, c only in the first, d in neither:

    D = p_2 - p_1 = (b - c) / n.

The interval is method 10 of Newcombe (Statistics in Medicine 17, 2635-2650, 1998): Wilson's intervals (l, u) of the two
shares, squared and added with their correlation phi,

    low  = D - sqrt((p_2 - l_2)^2 - 2 phi (p_2 - l_2) (u_1 - p_1) + (u_1 - p_1)^2)
    high = D + sqrt((u_2 - p_2)^2 - 2 phi (u_2 - p_2) (p_1 - l_1) + (p_1 - l_1)^2)
    phi  = A / sqrt((a + b) (c + d) (a + c) (b + d)),     A = a d - b c, and max(A - n / 2, 0) where that is positive.

It stays sensible with few changed samples and with shares near 1, where the usual normal interval does not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LEVEL = 0.95
"""Of the interval."""


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
    """Return the difference between two shares, from the numbers a, b, c and d of samples.

    Example:
        >>> found = paired_difference(both=59, gained=16, lost=6, neither=80)
        >>> round(found.difference, 4), round(found.low, 4), round(found.high, 4)
        (0.0621, 0.0046, 0.1186)
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


def mcnemar(gained: int, lost: int) -> float:
    """Return McNemar's exact two-sided p: how surprising the split of the changed samples is if a coin decides each.

    Args:
        gained: samples that only the second has.
        lost: samples that only the first has.

    Example:
        >>> round(mcnemar(9, 1), 6), mcnemar(0, 0)
        (0.021484, 1.0)
    """
    from scipy.stats import binomtest

    total = gained + lost
    return float(binomtest(gained, total).pvalue) if total else 1.0


def wilson(hits: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Return Wilson's interval of a share: all shares p with |hits / n - p| <= z sqrt(p (1 - p) / n).

    Example:
        >>> [round(bound, 3) for bound in wilson(9, 10)]
        [0.596, 0.982]
    """
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
