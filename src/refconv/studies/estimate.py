"""How long steps and runs take: steps of each method beside the reference's, and what is left of a study."""

from __future__ import annotations

import dataclasses
import hashlib
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.progress import MofNCompleteColumn
from rich.table import Column

from refconv.engine.stepping import medians, step_seconds
from refconv.models.run_folder import AGAIN, writing
from refconv.process.progress import Display, column
from refconv.recipe.recipe import Recipe
from refconv.records import Record
from refconv.studies.runs import Run

now = time.monotonic  # tests put another clock here

_BEHIND, _BEHIND_SECONDS = 1.25, 60.0  # a plan is kept below that many times its time, or that much more
_TURNS = 30  # steps of each method that are timed for the record


class _Known:
    """A number of each cell (architecture, method): the median of what was learned, else what was expected.

    An unknown cell is taken to have the median of its architecture, else of all.
    """

    def __init__(self, expected: Mapping[tuple[str, str], float] | None) -> None:
        self._expected = dict(expected or {})
        self._learned: dict[tuple[str, str], list[float]] = {}

    def learn(self, run: Run, value: float) -> None:
        self._learned.setdefault((run.architecture, run.method), []).append(value)

    def of(self, runs: Sequence[Run]) -> list[float] | None:
        known = {**self._expected, **{cell: statistics.median(found) for cell, found in self._learned.items()}}
        if not known:
            return None
        found = []
        for run in runs:
            near = [value for (architecture, _), value in known.items() if architecture == run.architecture]
            found.append(known.get((run.architecture, run.method), statistics.median(near or known.values())))
        return found


class Estimate:
    """How long runs take: the seconds of an epoch, and those around training, which do not depend on its length.

    Both are those of runs that have finished, else expected from steps that were ``timed``.
    """

    def __init__(
        self,
        timed: Mapping[tuple[str, str], float] | None = None,
        around: Mapping[tuple[str, str], float] | None = None,
    ) -> None:
        self._epochs, self._around = _Known(timed), _Known(around)

    def learn(self, run: Run, seconds: float, around: float | None = None) -> None:
        """Take a finished run into account: seconds of its training, and those before and after, if they are known."""
        self._epochs.learn(run, seconds / _size(run))
        if around is not None:
            self._around.learn(run, around)

    def seconds(self, runs: Iterable[Run], jobs: int = 1) -> float | None:
        """Return how long some runs will take, so many at a time; None while nothing is known."""
        runs = list(runs)
        epochs = self._epochs.of(runs)
        if epochs is None:
            return None
        around = self._around.of(runs) or [0.0] * len(runs)
        each = [one * _size(run) + more for run, one, more in zip(runs, epochs, around, strict=True)]
        return max(sum(each) / jobs, max(each, default=0.0))


def _size(run: Run) -> int:
    """Return how long a run is, in epochs, or in steps where its recipe says how many steps an epoch has."""
    return run.recipe.epochs * (run.recipe.epoch_steps or 1)


class Pace:
    """Says once that the whole takes longer than planned: a quarter and a minute more, or more than that.

    Args:
        planned: seconds that the whole was expected to take; None if nobody expected anything.
        spent: seconds of it that had passed before.
    """

    def __init__(self, planned: float | None, spent: float = 0.0) -> None:
        self._planned, self._begun = planned, now() - spent

    def said(self, left: float | None) -> str | None:
        """Return a line where it is behind, given the seconds that are left now; None where not, or after the first."""
        if self._planned is None or left is None:
            return None
        whole = now() - self._begun + left
        if whole < _BEHIND * self._planned or whole < self._planned + _BEHIND_SECONDS:
            return None
        line = f"slower than planned: about {clock(whole)} in all instead of {clock(self._planned)}"
        self._planned = None
        return line


def clock(seconds: float) -> str:
    """Return a time in words.

    Example:
        >>> clock(59), clock(3700), clock(200_000)
        ('59 s', '1 h 02 min', '55 h 33 min')
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"


class Board(Display):
    """Shows finished and current runs and the remaining time; ``show`` and ``console`` as in :class:`Display`."""

    def __init__(self, title: str, **where: Any) -> None:
        count = MofNCompleteColumn(table_column=Column(no_wrap=True))
        columns = (count, column("{task.fields[left]}"), column("{task.fields[now]}", last=True))
        super().__init__(title, columns, left="", now="", **where)
        self._place = ""

    def place(self, *, done: int, total: int, now: Sequence[str], left: float | None) -> None:
        """Update the counts, current runs and seconds left (None: unknown); in a pipe the next line shows them."""
        remaining = "" if left is None or done == total else f"{clock(left)} left"
        self._place = ", ".join(filter(None, (f"{done}/{total}", remaining)))
        self.move(done, total=total, left=remaining, now=" | ".join(now))

    def say(self, line: str) -> None:
        """Print a line that stays: above the bar, or after the counts in a pipe."""
        super().say(line if self.terminal or not self._place else f"{self._place}  {line}")


@dataclass(frozen=True)
class StepTimes(Record):
    """Times of one architecture, by method, measured when nothing else of the study ran."""

    reference: str
    median_ms: dict[str, float]
    ratio: dict[str, float]  # median over pairs of steps of the time over that of the reference method
    turns: int  # steps of each method
    recipes: dict[str, str]  # digests of the settings


def step_times(runs: Mapping[str, Run], reference: str, turns: int = _TURNS) -> StepTimes:
    """Time the methods of one architecture, a step of each in turn.

    If the reference method is not among the runs, the first one takes its place.
    """
    seconds = step_seconds({name: _recipe(run) for name, run in runs.items()}, turns)
    reference = reference if reference in runs else next(iter(runs))
    ratios = {name: [a / b for a, b in zip(own, seconds[reference], strict=True)] for name, own in seconds.items()}
    milliseconds = {name: 1000 * value for name, value in medians(seconds).items()}
    digests = {name: _digest(run.recipe) for name, run in runs.items()}
    return StepTimes(reference, milliseconds, medians(ratios), turns, digests)


def kept_step_times(path: Path, runs: Mapping[str, Run], reference: str) -> StepTimes:
    """Return what an earlier call wrote to the file, if it holds for these runs; else measure now and write it."""
    if path.is_file():
        times = StepTimes.read(path)
        known = all(times.recipes.get(name) == _digest(run.recipe) for name, run in runs.items())
        if known and (times.reference == reference or reference not in runs):
            return times
    times = step_times(runs, reference)
    with writing(path, AGAIN):
        path.parent.mkdir(parents=True, exist_ok=True)
        times.write(path)
    return times


def _recipe(run: Run) -> Recipe:
    """Return the recipe of a run; with fresh weights while its base is not there, for a step takes as long."""
    if run.base is None or (run.base / "model").is_dir():
        return run.recipe
    return dataclasses.replace(run.recipe, checkpoint=None, reset_classifier=False)


def _digest(recipe: Recipe) -> str:
    """Return a fingerprint of the settings that a step's time may depend on."""
    same = dataclasses.replace(recipe, checkpoint=None, reset_classifier=False, seed=0, lr=0.0)
    return hashlib.sha256(same.to_toml().encode()).hexdigest()[:16]
