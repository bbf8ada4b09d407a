"""Which run comes next: bases before what goes on from them, selection before the final runs of its cell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from refconv.studies.choosing import Tried, best, edges
from refconv.studies.execution import Outcome, has_weights, is_over, record_of
from refconv.studies.measures import MEASURES
from refconv.studies.runs import Run, Runs
from refconv.studies.study import Architecture, Method

Cell = tuple[str, str]
"""Names of an architecture and a method."""


@dataclass(frozen=True)
class Choice:
    """The settings of a cell.

    Attributes:
        point: the chosen values of the settings in the method's grid.
        tried: all combinations that were tried; empty where there was nothing to choose.
        edges: settings whose chosen value stands at the edge of its grid.
    """

    point: Mapping[str, Any]
    tried: tuple[Tried, ...] = ()
    edges: tuple[str, ...] = ()


class Schedule:
    """The runs of a study that are over, running, waiting, or without hope.

    Runs that are over already, from an earlier call, are never started again.

    Attributes:
        choices: the settings of each cell, as soon as they are chosen.
        failures: runs that failed, or cells without choice, and why.
        blame: why a cell will have no result.
        over: runs that finished or diverged, whenever that was.

    Args:
        runs: the runs.

    Raises:
        StudyError: if a folder holds a run with other settings.
        RunError: if a record is damaged.
    """

    def __init__(self, runs: Runs) -> None:
        self._runs = runs
        self.choices: dict[Cell, Choice] = {}
        self.failures: dict[str, str] = {}
        self.blame: dict[Cell, str] = {}
        self.over: list[Run] = []
        self._waiting: list[Run] = []
        self._running: list[Run] = []
        self._lost: set[Path] = set()
        self._cells: dict[Cell, tuple[Architecture, Method]] = {(a.name, m.name): (a, m) for a, m in runs.cells}
        self._unchosen: dict[Cell, list[Run]] = {}
        self._supposed: dict[Cell, list[Run]] = {}
        for run in runs.bases():
            self._add(run)
        for cell, (architecture, method) in self._cells.items():
            selection = runs.selection(architecture, method)
            if not selection:
                self._choose(cell, Choice(method.points[0]))
                continue
            self._unchosen[cell] = selection
            self._supposed[cell] = runs.final(architecture, method, method.points[0])
            for run in selection:
                self._add(run)
            self._try_to_choose(cell)

    @property
    def total(self) -> int:
        """Runs in all, those of cells without choice included."""
        return len(self.over) + len(self._lost) + len(self._running) + len(self._waiting) + self._unknown()

    @property
    def cells(self) -> tuple[Cell, ...]:
        """All cells."""
        return tuple(self._cells)

    @property
    def running(self) -> tuple[Run, ...]:
        """What runs now."""
        return tuple(self._running)

    def to_do(self) -> Iterator[Run]:
        """Yield every run that is not over and not lost, for estimates; final runs without choice with any settings."""
        yield from self._running
        yield from self._waiting
        for cell in self._unchosen:
            yield from self._supposed[cell]

    def start(self) -> Run | None:
        """Return a run that can start now, which is running from then on; None if there is none at the moment."""
        over = {run.folder for run in self.over}
        for run in list(self._waiting):
            if run.base is not None and run.base in self._lost:
                self._lose(run)
            elif run.base is not None and run.base in over and not has_weights(run.base):
                return self._again(run.base)
            elif run.base is None or run.base in over:
                self._waiting.remove(run)
                self._running.append(run)
                return run
        return None

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Take note that a run has ended.

        Args:
            run: the run.
            outcome: how it ended.

        Raises:
            StudyError: if a folder of a run that follows holds other settings.
            RunError: if a record is damaged.
        """
        self._running.remove(run)
        if outcome.state == "failed":
            self.failures[str(run)] = outcome.message
            for cell in self._cells:
                if cell[0] == run.architecture and run.method in {"", cell[1]}:
                    self.blame.setdefault(cell, outcome.message)
            self._lose(run)
        else:
            self.over.append(run)
            self._try_to_choose((run.architecture, run.method))

    def finals(self, cell: Cell) -> list[Run]:
        """Return the final runs of a cell, if all of them are over; else none."""
        if cell not in self.choices:
            return []
        over = {run.folder for run in self.over}
        runs = self._runs.final(*self._cells[cell], self.choices[cell].point)
        return runs if all(run.folder in over for run in runs) else []

    def _again(self, base: Path) -> Run:
        """Return a base that is to be trained again, since it left a record, but no weights to go on from."""
        (run,) = [run for run in self.over if run.folder == base]
        self.over.remove(run)
        self._running.append(run)
        return run

    def _add(self, run: Run) -> None:
        (self.over if is_over(run) else self._waiting).append(run)

    def _lose(self, run: Run) -> None:
        """Give a run up, and what waits for its cell's choice with it."""
        if run in self._waiting:
            self._waiting.remove(run)
        self._lost.add(run.folder)
        if run.kind == "selection":
            cell = run.architecture, run.method
            if cell in self._unchosen:
                del self._unchosen[cell]
                self._lost.update(final.folder for final in self._supposed[cell])

    def _try_to_choose(self, cell: Cell) -> None:
        """Choose the settings of a cell, if all that is needed for it is over."""
        over = {run.folder for run in self.over}
        runs = self._unchosen.get(cell, [])
        if not runs or any(run.folder not in over for run in runs):
            return
        del self._unchosen[cell]
        measure = MEASURES[self._runs.study.select_by]
        tried = tuple(
            Tried(dict(point), tuple(_score(run, measure.name) for run in runs if run.point == point))
            for point in self._cells[cell][1].points
        )
        chosen = best(tried, measure)
        if chosen is None:
            self.blame[cell] = self.failures["/".join(cell)] = "every combination of its grid diverged"
            self._lost.update(run.folder for run in self._supposed[cell])
        else:
            self._choose(cell, Choice(chosen.point, tried, edges(self._cells[cell][1], chosen.point)))

    def _choose(self, cell: Cell, choice: Choice) -> None:
        self.choices[cell] = choice
        for run in self._runs.final(*self._cells[cell], choice.point):
            self._add(run)

    def _unknown(self) -> int:
        return len(self._unchosen) * len(self._runs.study.seeds)


def _score(run: Run, name: str) -> float | None:
    """Return the last validation result of a run; None if it diverged, in training or in that evaluation."""
    record = record_of(run)
    if record is None:
        return None
    assert record.val_last is not None  # a validation split is checked for before anything runs
    score = record.val_last.measure(name)
    return score if score is not None and math.isfinite(score) else None
