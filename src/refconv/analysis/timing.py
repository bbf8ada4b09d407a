"""A bound on time bounds the number of samples and nothing else; how many fit is decided here, for all measures.

A measure is taken on few samples, timed, and taken on as many as fit; the record is exactly that of ``max_samples`` of
this number. Numbers come from a ladder, 8, 16, 24, 32, 48, 64, 96, 128 and so on, each a half or a third above the one
before, so that a machine that is a little quicker or busier mostly takes the same.

The fewest samples are taken even if they last longer than a measure's time, with one exception. A measure that works
many times on each sample and has a share of a whole is not taken where a trial says that its fewest samples need more
than all that is left of the whole: they would judge nothing, and take minutes on a large network.
"""

from __future__ import annotations

import functools
import inspect
import math
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, ParamSpec, TypeVar

from refconv.analysis.batches import Progress
from refconv.errors import SettingError

P = ParamSpec("P")
R = TypeVar("R")

FEWEST = 8
"""Samples that are taken however long they last; others come in multiples, so that no batch has a single one."""

_TRIALS = (FEWEST, 2 * FEWEST, 8 * FEWEST, 64 * FEWEST)
_SHARE = 0.15  # of the time left that a trial may take
_COLD = 0.05  # of the time that a first trial may take, so that it can be repeated: it also warms up
_COLD_OF_A_WHOLE = 0.25  # the same of all that is left, where a trial decides whether the measure is taken

clock = time.perf_counter
"""What time is; a benchmark that counts the seconds of a processor puts another clock here."""


class Share(float):
    """The seconds of one measure, of all that is left of a whole."""

    left: float

    def __new__(cls, seconds: float, left: float) -> Share:
        """Return a share of what is left."""
        share = super().__new__(cls, seconds)
        share.left = left
        return share


def halved(seconds: float) -> float:
    """Return half of a time, and of what is left of its whole: that of the first of two models."""
    return Share(seconds / 2, seconds.left / 2) if isinstance(seconds, Share) else seconds / 2


class Budget:
    """The time of all measures, which those that can be bounded share by given weights.

    A measure gets its weight's share of what is left when it begins, so what one does not use goes to those after it.
    Time is counted from the start, that of measures which cannot be bounded too.

    Example:
        >>> budget = Budget(60, {"agreement": 3, "attacks": 1})
        >>> 44 < budget.share("agreement") <= 45, 59 < budget.share("attacks") <= 60
        (True, True)
    """

    def __init__(self, seconds: float | None, weights: Mapping[str, float]) -> None:
        self._end = None if seconds is None else clock() + seconds
        self._weights = dict(weights)

    def among(self, names: Collection[str]) -> None:
        """Share what is left among these measures alone."""
        self._weights = {name: weight for name, weight in self._weights.items() if name in names}

    def share(self, name: str) -> Share | None:
        """Return the seconds of a measure that is next, above 0 even if nothing is left; None without a bound."""
        if self._end is None:
            return None
        of_all = sum(self._weights.values())
        left = self._end - clock()
        return Share(max(left * self._weights.pop(name) / of_all, _LEAST), left)


_LEAST = 1e-6  # seconds: the fewest samples are taken


def timed(
    work: Callable[..., float] | None = None, *, answers: bool = False, **trial: Any
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let :func:`within` handle the argument ``max_seconds`` of a measure, which does not look at it itself.

    A trial with the arguments ``trial`` does less for each sample; ``work`` tells from the measure's arguments how many
    times as much the measure does. Without them, the measure itself is tried. With ``answers`` it takes the answers of
    models from :mod:`refconv.analysis.answers`, which runs them on whole batches, and once where batches are kept.
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
            if most is None:  # all of them, so that a whole split need not be on the ladder
                most = getattr(given.arguments.get("batches"), "samples", None)
            again = functools.partial(measure, *args, **settings)
            quick = functools.partial(again, **trial) if work else None
            share = 1 / (work(**given.arguments) or 1) if work else 1.0
            grain = getattr(given.arguments.get("batches"), "grain", None) if answers else None
            known = getattr(given.arguments.get("batches"), "known", 0)
            how: dict[str, Any] = {} if grain is None else {"grain": grain, "kept": True, "known": known}
            return within(seconds, again, most, progress, trial=quick, share=share, **how)

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
    grain: int = FEWEST,
    kept: bool = False,
    known: int = 0,
) -> R:
    """Take a measure on as many samples as a time allows, about.

    ``measure`` is called with ``max_samples`` and ``progress``. ``trial`` does less for each sample, in a ``share`` of
    the time. ``grain``: samples that come together, so that fewer cost as much. ``kept``: what a trial found out about
    its samples is kept, so that only further ones cost; ``known``: of how many first samples it was kept before. The
    fewest samples are taken even if they last longer.

    Raises:
        SettingError: if there is no time, or if ``seconds`` are a :class:`Share` and a trial, which does less than the
            measure, says that the fewest samples need more than all that is left.
    """
    if not seconds > 0:
        raise SettingError("no time", where="max_seconds", expected="above 0, or None", found=str(seconds))
    begin = clock()
    whole = seconds.left if isinstance(seconds, Share) and trial is not None else math.inf
    if whole <= 0:
        raise _too_long("more time", 0.0)
    cold = _COLD * seconds if math.isinf(whole) else max(_COLD * seconds, _COLD_OF_A_WHOLE * whole)
    before = (known, 0.0)
    counts = sorted({known + max(count, rung(grain)) for count in _TRIALS})  # what is known would cost nothing
    for count, following in zip(counts, (*counts[1:], counts[-1]), strict=True):
        if max_samples is not None and count >= max_samples:
            return measure(max_samples=max_samples, progress=progress)
        for _ in range(1 if kept else 2):  # a repeated trial of what is kept would cost nothing, and say so
            start = clock()
            found = (trial or measure)(max_samples=count, progress=None)
            now = (count, clock() - start)
            if before[0] or now[1] > cold:
                break
        spent = clock() - begin
        if count == counts[0] and now[1] > share * (whole - spent):
            raise _too_long(f"about {now[1] / share:.2g} s", whole - spent)
        left = seconds - spent
        fitting = _further(before, now, left) if kept else _fitting(before, now, left * share)
        if max_samples is not None and fitting >= max_samples:
            return measure(max_samples=max_samples, progress=progress)
        each = now[1] / (now[0] - before[0]) if kept else _each(before, now)
        if now[1] + (following - count) * each > _SHARE * left:
            break
        before = now
    if trial is None and not known and rung(fitting) <= count:
        return found
    return measure(max_samples=max(rung(fitting), FEWEST), progress=progress)


def _too_long(needed: str, left: float) -> SettingError:
    problem, found = "too little time is left for the fewest samples", f"{max(left, 0):.2g} s"
    remedy = "take it alone with --only, or give more time; without a limit of time it is always taken"
    return SettingError(problem, where="--seconds", expected=needed, found=found, remedy=remedy)


def rung(count: int) -> int:
    """Return the largest number of samples of the ladder that is not above a number; 0 below the fewest.

    Example:
        >>> [rung(count) for count in (7, 8, 23, 60, 100, 2048)]
        [0, 8, 16, 48, 96, 2048]
    """
    if count < FEWEST:
        return 0
    half = FEWEST << ((count // FEWEST).bit_length() - 1)
    return half + half // 2 if half > FEWEST and count >= half + half // 2 else half


def _each(before: tuple[int, float], now: tuple[int, float]) -> float:
    """Return the seconds that a further sample takes, from (samples, seconds) of two trials, the earlier first."""
    if now[0] == before[0]:
        return now[1] / now[0]
    return max(now[1] - before[1], 0) / (now[0] - before[0])


def _further(before: tuple[int, float], now: tuple[int, float], seconds: float) -> int:
    """Return how many samples fit into a further time, a multiple of the fewest, if those of the last trial are kept.

    All that the last trial took was for what it had more than the one before.
    """
    samples, spent = now
    fitting = samples + max(seconds, 0) * (samples - before[0]) / max(spent, 1e-12)
    return int(fitting // FEWEST) * FEWEST


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
