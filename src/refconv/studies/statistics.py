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

LEVEL = 0.95  # nominal coverage of all intervals
POWER = 0.8  # that the number of seeds needed is given for
RESAMPLES = 10_000  # of the bootstrap
_BOOTSTRAP_SEED = 20231016
_ROUNDING = 1e-9  # relative: what differs by less differs by rounding
FEWEST = 5
"""Seeds from which on a verdict is given and a test is made; with fewer there are numbers.

The exact sign test of five seeds that all point one way has p = 1/16, of four 1/8: below five no pattern of signs is
uncommon, so that a small p rests on nothing but the assumption that differences are normal.
"""


@dataclass(frozen=True)
class Interval(Record):
    """A mean of some values and its bounds; None where nothing says how far chance carries."""

    mean: float
    low: float | None = None
    high: float | None = None
    values: int = 0

    @property
    def side(self) -> int:
        """On which side of zero the interval lies, 1 or -1; 0 if zero is inside, without bounds or :attr:`enough`."""
        if self.low is None or self.high is None or not self.enough:
            return 0
        return int(self.low > 0) - int(self.high < 0)

    @property
    def enough(self) -> bool:
        """Whether there are enough values for a verdict, :data:`FEWEST`."""
        return self.values >= FEWEST


def t_interval(values: Sequence[float], resolution: float | None = None) -> Interval:
    """Return mean and Student's t interval, mean +- max(t(n - 1) * s / sqrt(n), resolution).

    Note [Resolution]. An accuracy on N test images is known up to half an image, 1 / (2 N), whatever the seed; the
    difference of two accuracies up to one image, 1 / N. All seeds meet the same images, so that this error need not
    average out over seeds. It hides the spread as well: where seeds differ by less than an image they tie, s is zero
    and the t interval has no width. Half a width of at least 1 / N covers the error in every case. Where the
    resolution is not known (None), values that are all equal have no bounds.

    Raises:
        ValueError: if there is no value, or one is not finite.

    Example:
        >>> interval = t_interval([1.0, 2.0, 3.0])
        >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)
        (2.0, -0.484, 4.484)
        >>> interval = t_interval([0.002, 0.002, 0.002], resolution=0.002)
        >>> round(interval.low, 6), round(interval.high, 6)
        (-0.0, 0.004)
    """
    mean, n = _mean(values), len(values)
    error = _standard_error(values, resolution)
    if error is None:
        return Interval(mean, values=n)
    half = _critical(n) * error
    return Interval(mean, mean - half, mean + half, n)


def _mean(values: Sequence[float]) -> float:
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"expected finite values, found {list(values)}")
    return math.fsum(values) / len(values)


def _standard_error(values: Sequence[float], resolution: float | None) -> float | None:
    """Return the standard error of a mean, at least the one that gives the resolution as half width; None if unknown.

    The test and the interval share it, so that p is below 1 - LEVEL exactly where the interval excludes zero.
    """
    n = len(values)
    if n < 2:
        return None
    least = (resolution or 0.0) * (1 + _ROUNDING) / _critical(n)
    return max(spread(values) / math.sqrt(n), least) or None


def _critical(n: int) -> float:
    return float(stats.t.ppf((1 + LEVEL) / 2, n - 1))


def bootstrap_interval(values: Sequence[float], resolution: float | None = None) -> Interval:
    """Return mean and bootstrap interval, bias-corrected and accelerated.

    Efron 1987, "Better bootstrap confidence intervals". The resamples are drawn from a fixed seed. With few values the
    interval is too short, for it never leaves their range; it stands beside :func:`t_interval` because it does not
    assume that differences are normal. Each bound is at least the resolution away from the mean.
    """
    mean, n = _mean(values), len(values)
    if n < 2:
        return Interval(mean, values=n)
    least = (resolution or 0.0) * (1 + _ROUNDING)
    if spread(values) == 0:
        return Interval(mean, mean - least, mean + least, n) if least else Interval(mean, values=n)
    generator = np.random.default_rng(_BOOTSTRAP_SEED)
    how = {"n_resamples": RESAMPLES, "confidence_level": LEVEL, "method": "BCa", "rng": generator}
    low, high = stats.bootstrap([values], np.mean, **how).confidence_interval
    return Interval(mean, min(float(low), mean - least), max(float(high), mean + least), n)


def p_value(differences: Sequence[float], resolution: float | None = None) -> float | None:
    """Return the two-sided p-value of the paired t test against zero, with the standard error of :func:`t_interval`.

    None with fewer than :data:`FEWEST` differences, and where they are all equal and the resolution is not known.
    """
    mean, n = _mean(differences), len(differences)
    error = _standard_error(differences, resolution)
    if error is None or n < FEWEST:
        return None
    return float(2 * stats.t.sf(abs(mean) / error, n - 1))


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


def power(n: int, effect: float) -> float:
    """Return the probability that a two-sided paired t test of n >= 2 pairs finds an effect.

    The effect is the true mean difference in standard deviations of the differences.
    """
    critical, shift = _critical(n), effect * math.sqrt(n)
    # Far beyond the critical value scipy's noncentral t loses its digits; the tail is normal there.
    if shift > 30:
        return 1.0
    return float(stats.nct.sf(critical, n - 1, shift) + stats.nct.cdf(-critical, n - 1, shift))


def seeds_needed(s: float, difference: float, resolution: float | None = None) -> int | None:
    """Return how many paired seeds are needed to find a true mean difference, at least :data:`FEWEST`.

    The t test has to find it with :data:`POWER`, and the mean of the seeds has to come out beyond the resolution.
    The standard deviation s of the paired differences is taken as that of rounding two accuracies, the resolution over
    the root of 6, where it is zero (ties). None where no number of seeds is enough, because the difference is not
    larger than the resolution, and where s is zero and the resolution is not known.

    Example:
        >>> seeds_needed(1.0, 0.5), seeds_needed(1.0, 0.5, resolution=0.3), seeds_needed(1.0, 0.5, resolution=0.5)
        (34, 34, None)
    """
    least = resolution or 0.0
    s = s or least / math.sqrt(6)
    if s == 0 or difference <= least * (1 + _ROUNDING):
        return None
    low, high = 1, 2
    while power(high, difference / s) < POWER:
        low, high = high, 2 * high
    while high - low > 1:  # low does not do, high does
        middle = (low + high) // 2
        low, high = (low, middle) if power(middle, difference / s) >= POWER else (middle, high)
    beyond = (float(stats.norm.ppf(POWER)) * s / (difference - least)) ** 2 if least else 0.0
    return max(high, FEWEST, math.ceil(beyond))


def spread(values: Sequence[float]) -> float:
    """Return the standard deviation of a sample, with n - 1 in the denominator.

    Values that are all equal, but for rounding, give 0.
    """
    if max(values) - min(values) <= _ROUNDING * max(map(abs, values)):
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
