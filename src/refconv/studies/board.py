"""The progress of a study: a bar in a terminal, plain lines in a pipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.progress import MofNCompleteColumn
from rich.table import Column

from refconv.process.progress import Display, column
from refconv.studies.estimate import clock


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
