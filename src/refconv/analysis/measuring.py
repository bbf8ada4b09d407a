"""What an analysis says about its progress, on standard error: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column


class Display(Protocol):
    """Where an analysis shows how it gets on."""

    def __enter__(self) -> Display:
        """Start showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""

    def say(self, text: str) -> None:
        """Say a line.

        Args:
            text: the line.
        """

    def begin(self, name: str, number: int, count: int) -> None:
        """Say which measure begins.

        Args:
            name: of the measure.
            number: which one it is, from 1.
            count: how many there are.
        """

    def progress(self, done: int, total: int) -> None:
        """Say how far the measure is.

        Args:
            done: what is done.
            total: what there is in all; 0 if that is not known.
        """


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def say(self, text: str) -> None:
        """Show nothing."""

    def begin(self, name: str, number: int, count: int) -> None:
        """Show nothing."""

    def progress(self, done: int, total: int) -> None:
        """Show nothing."""


class Lines(Silent):
    """A plain line for each measure, for a pipe or a file.

    Args:
        title: what is analysed; may be empty.
    """

    def __init__(self, title: str = "") -> None:
        self._title = f"{title}: " if title else ""

    def say(self, text: str) -> None:
        """Print a line at once."""
        print(f"{self._title}{text}", file=sys.stderr, flush=True)

    def begin(self, name: str, number: int, count: int) -> None:
        """Print a line at once."""
        self.say(f"measuring {name} ... ({number} of {count})")


class Bar(Silent):
    """A bar for the measure that runs, with its time left, for a terminal.

    Args:
        title: what is analysed; may be empty.
        console: the terminal.
    """

    def __init__(self, title: str = "", console: Console | None = None) -> None:
        console = console or Console(stderr=True)
        self._title = f"{title}: " if title else ""
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis")),
            BarColumn(bar_width=min(40, max(5, console.width - 70))),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            TextColumn("left, {task.fields[place]}", table_column=Column(no_wrap=True)),
            console=console,
            refresh_per_second=5,
            transient=True,
        )
        self._task: TaskID | None = None
        self._moved = 0.0

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(f"{self._title}{text}", highlight=False, markup=False, soft_wrap=True)

    def begin(self, name: str, number: int, count: int) -> None:
        """Start the bar anew."""
        if self._task is not None:
            self._progress.remove_task(self._task)
        place = f"{number} of {count}"
        self._task = self._progress.add_task(f"{self._title}measuring {name}", total=None, place=place)

    def progress(self, done: int, total: int) -> None:
        """Move the bar, ten times a second at most."""
        now = time.perf_counter()
        if self._task is not None and (done == total or now - self._moved >= 0.1):
            self._moved = now
            self._progress.update(self._task, completed=done, total=total or None)


def announced(count: int, with_data: int, seconds: float | None) -> str:
    """Return what is said before measuring: how much there is to do, and how long it takes.

    Args:
        count: measures in all; those of weights alone take seconds.
        with_data: measures among them that run the models on data.
        seconds: time that one of these takes at most, about; None if it is not bounded.

    Example:
        >>> announced(22, 12, 30.0)
        '22 measures, 12 of them on data: about 6 minutes at most'
    """
    if not with_data:
        return f"{count} measures of the weights"
    words = f"{count} measures, {with_data} of them on data"
    if seconds is None:
        return f"{words}, for which no time limit is set"
    limit = with_data * seconds
    return f"{words}: about {f'{limit / 60:.0f} minutes' if limit >= 120 else f'{limit:.0f} seconds'} at most"


def display(title: str = "") -> Display:
    """Return the display that fits standard error.

    Args:
        title: what is analysed; may be empty.
    """
    return Bar(title) if sys.stderr.isatty() else Lines(title)
