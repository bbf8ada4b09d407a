"""The statistics of paired seeds: intervals, tests, corrections and power.

All of it treats the seeds as the sample: an interval says what another draw of seeds (initial weights of the base,
order of the data, augmentation) would give on the same data, and nothing about other data.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from refconv.records import Record

LEVEL = 0.95
"""Of all intervals."""

POWER = 0.8
"""Of the power note."""

RESAMPLES = 10_000
"""Of the bootstrap."""

_BOOTSTRAP_SEED = 20231016


@dataclass(frozen=True)
class Interval(Record):
    """A mean and where it may lie; without bounds where there is one value only.

    Attributes:
        mean: the mean.
        low: lower bound.
        high: upper bound.
    """

    mean: float
    low: float | None = None
    high: float | None = None

    @property
    def excludes_zero(self) -> bool:
        """Whether zero lies outside; false where there are no bounds."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high


def t_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    """Return mean and Student's t interval: mean +- t(n - 1) * s / sqrt(n).

    Args:
        values: the sample.
        level: share of samples whose interval covers the true mean, if the values are normal.

    Example:
        >>> interval = t_interval([1.0, 2.0, 3.0])
        >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)
        (2.0, -0.484, 4.484)
    """
    mean, n = math.fsum(values) / len(values), len(values)
    if n < 2:
        return Interval(mean)
    half = float(stats.t.ppf((1 + level) / 2, n - 1)) * spread(values) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def bootstrap_interval(values: Sequence[float], level: float = LEVEL, resamples: int = RESAMPLES) -> Interval:
    """Return mean and bootstrap interval, bias-corrected and accelerated.

    Efron 1987, "Better bootstrap confidence intervals". The resamples are drawn from a fixed seed. With few values the
    interval is too short, for it never leaves their range; it stands beside :func:`t_interval` because it does not
    assume that differences are normal.

    Args:
        values: the sample.
        level: nominal coverage.
        resamples: how many samples are drawn, with replacement.
    """
    sample = np.asarray(values, dtype=np.float64)
    mean, n = float(sample.mean()), len(sample)
    if n < 2:
        return Interval(mean)
    if np.ptp(sample) == 0:
        return Interval(mean, mean, mean)
    drawn = np.random.default_rng(_BOOTSTRAP_SEED).integers(n, size=(resamples, n))
    means = sample[drawn].mean(axis=1)
    below = float(np.mean(means < mean) + np.mean(means == mean) / 2)
    bias = float(stats.norm.ppf(below))
    # The jackknife's influence of each value; for a mean it is the value's distance from the mean.
    influence = sample - mean
    acceleration = float((influence**3).sum() / (6 * (influence**2).sum() ** 1.5))
    z = stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    shifted = stats.norm.cdf(bias + (bias + z) / (1 - acceleration * (bias + z)))
    low, high = np.quantile(means, shifted)
    return Interval(mean, float(low), float(high))


def p_value(differences: Sequence[float]) -> float | None:
    """Return the two-sided p-value of the paired t test against a mean difference of zero; None below two values."""
    if len(differences) < 2:
        return None
    mean, s = math.fsum(differences) / len(differences), spread(differences)
    if s == 0:
        return 1.0 if mean == 0 else 0.0
    return float(2 * stats.t.sf(abs(mean) / s * math.sqrt(len(differences)), len(differences) - 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number by Holm's step-down method, in the order given.

    The smallest of m is multiplied by m, the next by m - 1, and so on; none is below an earlier one, none above 1.

    Example:
        >>> [round(p, 4) for p in holm([0.01, 0.04, 0.03])]
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    scaled = ((len(order) - rank) * p_values[i] for rank, i in enumerate(order))
    corrected = [0.0] * len(order)
    for i, value in zip(order, itertools.accumulate(scaled, max), strict=True):
        corrected[i] = min(1.0, value)
    return corrected


def power(n: int, effect: float, level: float = LEVEL) -> float:
    """Return the probability that a paired t test of n pairs finds an effect, two-sided.

    Args:
        n: pairs, at least 2.
        effect: true mean difference in standard deviations of the differences.
        level: one minus the rate of false alarms.
    """
    critical, shift = float(stats.t.ppf((1 + level) / 2, n - 1)), effect * math.sqrt(n)
    # Far beyond the critical value scipy's noncentral t loses its digits; the tail is normal there.
    if shift > 30:
        return 1.0
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift))


def seeds_needed(s: float, difference: float, wanted: float = POWER) -> int:
    """Return how many paired seeds a t test needs to find a difference.

    Args:
        s: standard deviation of the paired differences.
        difference: the true mean difference to be found.
        wanted: the power.

    Example:
        >>> seeds_needed(1.0, 0.5)
        34
    """
    low, high = 1, 2
    if s == 0:
        return high
    while power(high, difference / s) < wanted:
        low, high = high, 2 * high
    while high - low > 1:  # low does not do, high does
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, difference / s) >= wanted else (middle, high)
    return high


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample, with n - 1 in the denominator; values that are all equal give 0."""
    if min(values) == max(values):
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
