"""How long the runs of a study will take, from runs that have finished, else from a few steps that were timed."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping

from refconv.studies.runs import Run


class Estimate:
    """Seconds per epoch of each cell, as far as known.

    An unknown cell is taken to be as quick as the median of its architecture, else of all.

    Args:
        timed: seconds per epoch of cells (architecture, method) of which no run has finished.
    """

    def __init__(self, timed: Mapping[tuple[str, str], float] | None = None) -> None:
        self._timed = dict(timed or {})
        self._finished: dict[tuple[str, str], list[float]] = {}

    def learn(self, run: Run, seconds: float) -> None:
        """Take a finished run into account.

        Args:
            run: the run.
            seconds: how long it took.
        """
        self._finished.setdefault((run.architecture, run.method), []).append(seconds / _size(run))

    @property
    def learnt(self) -> bool:
        """Whether anything is known."""
        return bool(self._finished or self._timed)

    def seconds(self, runs: Iterable[Run], jobs: int = 1) -> float | None:
        """Return how long some runs will take, so many at a time; None while nothing is known."""
        known = {**self._timed, **{cell: statistics.median(found) for cell, found in self._finished.items()}}
        if not known:
            return None
        total = 0.0
        for run in runs:
            near = [value for (architecture, _), value in known.items() if architecture == run.architecture]
            per_epoch = known.get((run.architecture, run.method), statistics.median(near or known.values()))
            total += per_epoch * _size(run)
        return total / jobs


def _size(run: Run) -> int:
    """Return how long a run is, in epochs, or in steps where its recipe says how many steps an epoch has."""
    return run.recipe.epochs * (run.recipe.epoch_steps or 1)


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
