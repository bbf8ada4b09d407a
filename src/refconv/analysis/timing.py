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

_TRIALS = (FEWEST, FEWEST, 2 * FEWEST, 8 * FEWEST, 64 * FEWEST)  # the first one also warms up
_SHARE = 0.25  # of the time left that a trial may take


def within(
    seconds: float,
    measure: Callable[..., R],
    max_samples: int | None,
    progress: Progress | None,
    *,
    trial: Callable[..., R] | None = None,
    share: float = 1.0,
) -> R:
    """Take a measure on as many samples as a time allows, about.

    Args:
        seconds: the time; the fewest samples are taken even if they last longer.
        measure: called with ``max_samples`` and ``progress``; its time grows with the samples.
        max_samples: the most samples, whatever the time; None for all.
        progress: what the measure tells in its last, full passage.
        trial: the same with less to do for each sample, where it does much; by default the measure itself.
        share: of the measure's time that the trial takes.

    Raises:
        SettingError: if the time is not positive.

    Example:
        >>> within(60, lambda max_samples, progress: max_samples, 1000, None)
        1000
    """
    if not seconds > 0:
        raise SettingError("no time", where="max_seconds", expected="above 0, or None", found=str(seconds))
    begin = time.perf_counter()
    before = (0, 0.0)
    for count, following in zip(_TRIALS, (*_TRIALS[1:], _TRIALS[-1]), strict=True):
        if max_samples is not None and count >= max_samples:
            return measure(max_samples=max_samples, progress=progress)
        start = time.perf_counter()
        found = (trial or measure)(max_samples=count, progress=None)
        now = (count, time.perf_counter() - start)
        left = seconds - (time.perf_counter() - begin)
        fitting = _fitting(before, now, left * share)
        if max_samples is not None and fitting >= max_samples:
            return measure(max_samples=max_samples, progress=progress)
        if now[1] + (following - count) * _each(before, now) > _SHARE * left:
            break
        before = now
    if trial is None and fitting <= count:
        return found
    return measure(max_samples=max(fitting, FEWEST), progress=progress)


def _each(before: tuple[int, float], now: tuple[int, float]) -> float:
    """Return the seconds that a further sample takes, from samples and seconds of two trials, the earlier first."""
    if now[0] == before[0]:
        return now[1] / now[0]
    return max(now[1] - before[1], 0) / (now[0] - before[0])


def _fitting(before: tuple[int, float], now: tuple[int, float], seconds: float) -> int:
    """Return how many samples fit into a time, a multiple of the fewest.

    In proportion to the last trial; where two trials say that a call costs more than its samples, up to eight times it.

    Args:
        before: samples and seconds of the earlier trial; zeros if there is none.
        now: the same of the later.
        seconds: the time.
    """
    samples, spent = now
    proportional = samples * seconds / max(spent, 1e-12)
    linear = samples + (seconds - spent) / max(_each(before, now), 1e-12)
    if seconds < spent:
        return max(0, int(min(proportional, linear) // FEWEST)) * FEWEST
    return int(max(proportional, min(linear, 8 * samples)) // FEWEST) * FEWEST
