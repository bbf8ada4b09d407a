"""The progress of a study: a bar in a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.progress import MofNCompleteColumn
from rich.table import Column

from refconv.process.progress import Display, column
from refconv.studies.estimate import clock


class Board(Display):
    """Shows which runs are over, which run now and how long the rest takes.

    Args:
        title: the study.
        **where: ``show`` and ``console`` of :class:`refconv.process.progress.Display`.
    """

    def __init__(self, title: str, **where: Any) -> None:
        count = MofNCompleteColumn(table_column=Column(no_wrap=True))
        columns = (count, column("{task.fields[left]}"), column("{task.fields[now]}", last=True))
        super().__init__(title, columns, left="", now="", **where)
        self._place = ""

    def place(self, *, done: int, total: int, now: Sequence[str], left: float | None) -> None:
        """Say where the study is; in a pipe the next line begins with it.

        Args:
            done: runs that are over.
            total: runs in all.
            now: what runs.
            left: seconds left; None if unknown.
        """
        remaining = "" if left is None or done == total else f"{clock(left)} left"
        self._place = ", ".join(filter(None, (f"{done}/{total}", remaining)))
        self.move(done, total=total, left=remaining, now=" | ".join(now))

    def say(self, line: str) -> None:
        """Print a line that stays: above the bar, or after the place in a pipe."""
        super().say(line if self.terminal or not self._place else f"{self._place}  {line}")
