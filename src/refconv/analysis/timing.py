"""A bound on the time of a measure: it is taken on few samples, timed, and taken on as many as fit.

Time bounds the number of samples and nothing else, so what comes out is exactly the record that ``max_samples`` of that
number gives: a curve has the same samples at every strength, and whoever gives the number gets the record again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from refconv.analysis.batches import Progress
from refconv.errors import SettingError

R = TypeVar("R")

FEWEST = 8
"""Samples that are taken however long they last; others come in multiples, so that no batch has a single one."""

_TRIALS = (FEWEST, FEWEST, 8 * FEWEST, 64 * FEWEST)  # the first one also warms up
_SHARE = 0.25  # of the time left that a trial may take


def within(seconds: float, measure: Callable[..., R], max_samples: int | None, progress: Progress | None) -> R:
    """Take a measure on as many samples as a time allows, about.

    Args:
        seconds: the time; the fewest samples are taken even if they last longer.
        measure: called with ``max_samples`` and ``progress``; its time grows with the samples.
        max_samples: the most samples, whatever the time; None for all.
        progress: what the measure tells in its last, full passage.

    Raises:
        SettingError: if the time is not positive.

    Example:
        >>> within(60, lambda max_samples, progress: max_samples, 1000, None)
        1000
    """
    if not seconds > 0:
        raise SettingError("no time", where="max_seconds", expected="above 0, or None", found=str(seconds))
    begin = time.perf_counter()
    for trial, count in enumerate(_TRIALS):
        if max_samples is not None and count >= max_samples:
            return measure(max_samples=max_samples, progress=progress)
        start = time.perf_counter()
        found = measure(max_samples=count, progress=None)
        spent = max(time.perf_counter() - start, 1e-9)
        left = seconds - (time.perf_counter() - begin)
        fitting = _multiple(count * left / spent)
        following = _TRIALS[min(trial + 1, len(_TRIALS) - 1)]
        if max_samples is not None and fitting >= max_samples:
            return measure(max_samples=max_samples, progress=progress)
        if spent * following / count > _SHARE * left:
            break
    return found if fitting <= count else measure(max_samples=fitting, progress=progress)


def _multiple(samples: float) -> int:
    """Return the largest multiple of the fewest samples that is not more."""
    return int(samples // FEWEST) * FEWEST
