"""A bound on the time of a measure: it is taken on few samples, timed, and taken on as many as fit.

Time bounds the number of samples and nothing else: the record is exactly that of ``max_samples`` of this number.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from refconv.analysis.batches import Progress
from refconv.errors import SettingError

P = ParamSpec("P")
R = TypeVar("R")
FEWEST = 8
"""Samples that are taken however long they last; others come in multiples, so that no batch has a single one."""

_TRIALS = (FEWEST, FEWEST, 2 * FEWEST, 8 * FEWEST, 64 * FEWEST)  # the first one also warms up
_SHARE = 0.25  # of the time left that a trial may take


def timed(work: Callable[..., float] | None = None, **trial: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let :func:`within` handle the argument ``max_seconds`` of a measure, which does not look at it itself.

    A trial with the arguments ``trial`` does less for each sample; ``work`` tells from the measure's arguments how many
    times as much the measure does. Without them, the measure itself is tried.
    """

    def decorated(measure: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(measure)
        def measured(*args: P.args, **settings: P.kwargs) -> R:
            seconds: Any = settings.pop("max_seconds", None)
            if seconds is None:
                return measure(*args, **settings)
            given = inspect.signature(measure).bind(*args, **settings)
            given.apply_defaults()
            most, progress = given.arguments["max_samples"], given.arguments["progress"]
            again = functools.partial(measure, *args, **settings)
            quick = functools.partial(again, **trial) if work else None
            share = 1 / (work(**given.arguments) or 1) if work else 1.0
            return within(seconds, again, most, progress, trial=quick, share=share)

        return measured

    return decorated


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

    ``measure`` is called with ``max_samples`` and ``progress``. ``trial`` does less for each sample, in a ``share`` of
    the time. The fewest samples are taken even if they last longer.
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
    """Return the seconds that a further sample takes, from (samples, seconds) of two trials, the earlier first."""
    if now[0] == before[0]:
        return now[1] / now[0]
    return max(now[1] - before[1], 0) / (now[0] - before[0])


def _fitting(before: tuple[int, float], now: tuple[int, float], seconds: float) -> int:
    """Return how many samples fit into a time, a multiple of the fewest.

    In proportion to the last trial; where two trials say that a call costs more than its samples, up to eight times it.
    """
    samples, spent = now
    proportional = samples * seconds / max(spent, 1e-12)
    linear = samples + (seconds - spent) / max(_each(before, now), 1e-12)
    if seconds < spent:
        return max(0, int(min(proportional, linear) // FEWEST)) * FEWEST
    return int(max(proportional, min(linear, 8 * samples)) // FEWEST) * FEWEST
