"""What a study says about its progress: a bar in a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.table import Column

from refconv.studies.estimate import clock


class Board(Protocol):
    """Where a study shows how it gets on."""

    def __enter__(self) -> Board:
        """Start showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""

    def move(self, *, done: int, total: int, now: Sequence[str], left: float | None) -> None:
        """Say where the study is.

        Args:
            done: runs that are over.
            total: runs in all.
            now: what runs.
            left: seconds left, if they can be told.
        """

    def say(self, line: str) -> None:
        """Show a line that stays."""


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def move(self, *, done: int, total: int, now: Sequence[str], left: float | None) -> None:
        """Show nothing."""

    def say(self, line: str) -> None:
        """Show nothing."""


class Lines(Silent):
    """Plain lines, for a pipe or a file: one for each run that is over.

    Args:
        write: takes a line.
    """

    def __init__(self, write: Callable[[str], None] = print) -> None:
        self._write, self._where = write, ""

    def move(self, *, done: int, total: int, now: Sequence[str], left: float | None) -> None:
        """Note where the study is; the next line says it."""
        self._where = f"{done}/{total}" + (f", {clock(left)} left" if left is not None and done < total else "")

    def say(self, line: str) -> None:
        """Print a line at once."""
        self._write(f"{self._where}  {line}" if self._where else line)
        sys.stdout.flush()


class Bar(Silent):
    """A progress bar over all runs, for a terminal.

    Args:
        title: the study.
        console: the terminal.
    """

    def __init__(self, title: str, console: Console | None = None) -> None:
        console = console or Console()
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=min(40, max(5, console.width - 100))),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[left]}", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[now]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
            refresh_per_second=2,
            expand=True,
        )
        self._task: TaskID = self._progress.add_task(title, total=None, left="", now="")

    def __enter__(self) -> Board:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def move(self, *, done: int, total: int, now: Sequence[str], left: float | None) -> None:
        """Move the bar."""
        words = "" if left is None else f"{clock(left)} left"
        self._progress.update(self._task, completed=done, total=total, left=words, now=" | ".join(now))

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, markup=False, highlight=False)


def board(title: str, *, show: bool) -> Board:
    """Return the board that fits standard output.

    Args:
        title: the study.
        show: whether to show anything.
    """
    if not show:
        return Silent()
    return Bar(title) if sys.stdout.isatty() else Lines()
