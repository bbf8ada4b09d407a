"""The progress of a study: a bar in a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Column

from refconv.studies.estimate import clock


class Board:
    """Shows which runs are over, which run now and how long the rest takes.

    Args:
        title: the study.
        show: whether to show anything.
        console: the terminal; by default standard output, if that is one.
    """

    def __init__(self, title: str, *, show: bool = True, console: Console | None = None) -> None:
        self._show, self._terminal = show, show and (console is not None or sys.stdout.isatty())
        console = console or Console()
        self.bar = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=min(40, max(5, console.width - 100))),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[now]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
            refresh_per_second=2,
            expand=True,
            disable=not self._terminal,
        )
        self._task = self.bar.add_task(title, total=None, left="", now="")
        self._place = ""

    def move(self, *, done: int, total: int, now: Sequence[str], left: float | None) -> None:
        """Move the bar; in a pipe the next line begins with this place.

        Args:
            done: runs that are over.
            total: runs in all.
            now: what runs.
            left: seconds left; None if unknown.
        """
        remaining = "" if left is None or done == total else f"{clock(left)} left"
        self._place = ", ".join(filter(None, (f"{done}/{total}", remaining)))
        self.bar.update(self._task, completed=done, total=total, left=remaining, now=" | ".join(now))

    def say(self, line: str) -> None:
        """Print a line that stays: above the bar, or at once in a pipe."""
        if self._terminal:
            self.bar.console.print(line, markup=False, highlight=False)
        elif self._show:
            print(f"{self._place}  {line}" if self._place else line, flush=True)


@contextmanager
def board(title: str, *, show: bool = True, console: Console | None = None) -> Iterator[Board]:
    """Show the progress of a study in the block; the arguments are those of :class:`Board`."""
    shown = Board(title, show=show, console=console)
    with shown.bar:
        yield shown
