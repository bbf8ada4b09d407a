"""Which run comes next: bases before what goes on from them, selection before the final runs of its cell.

A method's settings are chosen by the mean of the last validation results over the selection seeds; not by the best
evaluation of a run, which would favour what fluctuates most. A setting with which a run diverged cannot be chosen.
Among equals the first of the grid wins.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refconv.studies.comparison import MEASURES, Tried
from refconv.studies.execution import has_weights, is_over, record_of
from refconv.studies.outcome import Outcome
from refconv.studies.runs import Run, Runs
from refconv.studies.study import Method
from refconv.task_measures import Measure

Cell = tuple[str, str]  # names of an architecture and a method


@dataclass(frozen=True)
class Choice:
    """The settings of a cell, what was tried for it, and the settings that stand at the edge of their grid."""

    point: Mapping[str, Any]
    tried: tuple[Tried, ...] = ()
    edges: tuple[str, ...] = ()


class Schedule:
    """The runs of a study that are over, running, waiting, or given up; what an earlier call finished stays over."""

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.cells = {(a.name, m.name): (a, m) for a, m in runs.cells}
        self.choices: dict[Cell, Choice] = {}  # as soon as they are made
        self.failures: dict[str, str] = {}  # runs that failed, or cells without choice, and why
        self.blame: dict[Cell, str] = {}  # why a cell will have no result
        self.over: list[Run] = []  # finished or diverged, whenever that was
        self.running: list[Run] = []
        self._waiting: list[Run] = []
        self._lost: set[Path] = set()
        self._unchosen: dict[Cell, list[Run]] = {}
        self._supposed: dict[Cell, list[Run]] = {}  # final runs of cells without choice, with any settings
        self._add(runs.bases())
        for cell, (architecture, method) in self.cells.items():
            if selection := runs.selection(architecture, method):
                self._unchosen[cell] = selection
                self._supposed[cell] = runs.final(architecture, method, method.points[0])
                self._add(selection)
                self._try_to_choose(cell)
            else:
                self._choose(cell, Choice(method.points[0]))

    @property
    def total(self) -> int:
        """Runs in all, those of cells without choice included."""
        unknown = len(self._unchosen) * len(self._runs.study.seeds)
        return len(self.over) + len(self._lost) + len(self.running) + len(self._waiting) + unknown

    def to_do(self) -> Iterator[Run]:
        """Yield every run that is not over and not lost, for estimates; final runs without choice with any settings."""
        yield from self.running
        yield from self._waiting
        for cell in self._unchosen:
            yield from self._supposed[cell]

    def start(self) -> Run | None:
        """Return a run that can start now, which is running from then on; None if there is none at the moment."""
        over = {run.folder: run for run in self.over}
        for run in list(self._waiting):
            if run.base in self._lost:
                self._lose(run)
            elif run.base is None or run.base in over:
                if run.base is None or has_weights(run.base):
                    self._waiting.remove(run)
                else:  # the base left a record and no weights to go on from, so it is trained again
                    run = over[run.base]
                    self.over.remove(run)
                self.running.append(run)
                return run
        return None

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Take note of how a run has ended."""
        self.running.remove(run)
        if outcome.state == "failed":
            self.failures[str(run)] = outcome.message
            for cell in self.cells:
                if cell[0] == run.architecture and run.method in {"", cell[1]}:
                    self.blame.setdefault(cell, outcome.message)
            self._lose(run)
        else:
            self.over.append(run)
            self._try_to_choose((run.architecture, run.method))

    def finals(self, cell: Cell) -> list[Run]:
        """Return the final runs of a cell, if all of them are over; else none."""
        runs = self._runs.final(*self.cells[cell], self.choices[cell].point) if cell in self.choices else []
        return runs if self._all_over(runs) else []

    def _all_over(self, runs: Sequence[Run]) -> bool:
        return {run.folder for run in runs} <= {run.folder for run in self.over}

    def _add(self, runs: Sequence[Run]) -> None:
        for run in runs:
            (self.over if is_over(run) else self._waiting).append(run)

    def _lose(self, run: Run) -> None:
        """Give a run up, and what waits for its cell's choice with it."""
        if run in self._waiting:
            self._waiting.remove(run)
        self._lost.add(run.folder)
        cell = run.architecture, run.method
        if run.kind == "selection" and cell in self._unchosen:
            del self._unchosen[cell]
            self._lost.update(final.folder for final in self._supposed[cell])

    def _try_to_choose(self, cell: Cell) -> None:
        """Choose the settings of a cell, if all that is needed for it is over."""
        if cell not in self._unchosen or not self._all_over(self._unchosen[cell]):
            return
        runs, method, measure = self._unchosen.pop(cell), self.cells[cell][1], MEASURES[self._runs.study.select_by]
        scores = [(point, tuple(_score(run, measure) for run in runs if run.point == point)) for point in method.points]
        tried = tuple(Tried(dict(point), found) for point, found in scores)
        chosen = best(tried, measure)
        if chosen is None:
            self.blame[cell] = self.failures["/".join(cell)] = "every combination of its grid diverged"
            self._lost.update(run.folder for run in self._supposed[cell])
        else:
            self._choose(cell, Choice(chosen.point, tried, edges(method, chosen.point)))

    def _choose(self, cell: Cell, choice: Choice) -> None:
        self.choices[cell] = choice
        self._add(self._runs.final(*self.cells[cell], choice.point))


def _score(run: Run, measure: Measure) -> float | None:
    """Return the last validation result of a run; None if it diverged, in training or in that evaluation."""
    record = record_of(run)
    if record is None:
        return None
    assert record.val_last is not None  # a validation split is checked for before anything runs
    score = record.val_last.measure(measure.name)
    return score if score is not None and math.isfinite(score) else None


def best(tried: Sequence[Tried], measure: Measure) -> Tried | None:
    """Return what did best in the mean; None if every combination diverged."""
    sign = 1 if measure.larger_is_better else -1
    through = [(sign * one.mean, one) for one in tried if one.mean is not None]
    return max(through, key=lambda pair: pair[0])[1] if through else None


def edges(method: Method, point: Mapping[str, Any]) -> tuple[str, ...]:
    """Name the settings whose chosen value is the smallest or largest of its grid: a better one may lie beyond."""
    found = []
    for name, values in method.grid.items():
        numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
        if len(numbers) > 1 and point[name] in {min(numbers), max(numbers)}:
            found.append(name)
    return tuple(found)
