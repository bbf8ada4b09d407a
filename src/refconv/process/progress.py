"""What a run says about its progress, on the screen: a bar in a terminal, plain lines in a pipe."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column


class Display(Protocol):
    """Where a run shows how it gets on."""

    def __enter__(self) -> Display:
        """Start showing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop showing."""

    def step(self, step: int) -> None:
        """Say that so many steps are done."""

    def train(self, *, step: int, epoch: float, loss: float, lr: float, rate: float) -> None:
        """Say how training goes.

        Args:
            step: steps done.
            epoch: epochs done, with fractions.
            loss: mean training loss since the last time.
            lr: learning rate.
            rate: samples per second, over all processes.
        """

    def say(self, line: str) -> None:
        """Show a line that stays."""


class Silent:
    """Shows nothing."""

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def step(self, step: int) -> None:
        """Show nothing."""

    def train(self, *, step: int, epoch: float, loss: float, lr: float, rate: float) -> None:
        """Show nothing."""

    def say(self, line: str) -> None:
        """Show nothing."""


class Lines(Silent):
    """Plain lines, for a pipe or a file.

    Args:
        title: what runs.
        start: steps already done.
        total: steps in all.
    """

    def __init__(self, title: str, *, start: int, total: int) -> None:
        self._title, self._start, self._total = title, start, total
        self._since = time.perf_counter()

    def train(self, *, step: int, epoch: float, loss: float, lr: float, rate: float) -> None:
        """Show one line with the time left, as the steps of this sitting suggest it."""
        per_step = (time.perf_counter() - self._since) / max(1, step - self._start)
        left = _clock(per_step * (self._total - step))
        self.say(
            f"{self._title}  step {step}/{self._total}  epoch {epoch:.2f}  loss {loss:.4f}  lr {lr:.3g}  "
            f"{rate:,.0f} samples/s  {left} left"
        )

    def say(self, line: str) -> None:
        """Print a line at once."""
        print(line, flush=True)


class Bar(Silent):
    """A progress bar with rate and time left, for a terminal.

    Args:
        title: what runs.
        start: steps already done.
        total: steps in all.
        console: the terminal.
    """

    def __init__(self, title: str, *, start: int, total: int, console: Console | None = None) -> None:
        console = console or Console()
        # A narrow terminal shortens the bar first, then cuts the numbers at their end, where the least needed stand.
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True)),
            BarColumn(bar_width=min(40, max(5, console.width - 100))),
            MofNCompleteColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True)),
            TextColumn("left"),
            TextColumn("{task.fields[numbers]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1)),
            console=console,
            refresh_per_second=5,
            expand=True,
        )
        self._moved = 0.0
        self._task: TaskID = self._progress.add_task(title, total=total, completed=start, numbers="")

    def __enter__(self) -> Display:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def step(self, step: int) -> None:
        """Move the bar, ten times a second at most: a step may take less than a millisecond."""
        now = time.perf_counter()
        if now - self._moved < 0.1:
            return
        self._moved = now
        self._progress.update(self._task, completed=step)

    def train(self, *, step: int, epoch: float, loss: float, lr: float, rate: float) -> None:
        """Show the numbers beside the bar."""
        numbers = f"loss {loss:.4f}  {rate:,.0f} samples/s  epoch {epoch:.1f}  lr {lr:.3g}"
        self._progress.update(self._task, completed=step, numbers=numbers)

    def say(self, line: str) -> None:
        """Print a line above the bar."""
        self._progress.console.print(line, markup=False, highlight=False)


def display(title: str, *, start: int, total: int, show: bool) -> Display:
    """Return the display that fits standard output.

    Args:
        title: what runs.
        start: steps already done.
        total: steps in all.
        show: whether to show anything.
    """
    if not show:
        return Silent()
    kind = Bar if sys.stdout.isatty() else Lines
    return kind(title, start=start, total=total)


class Counted(Protocol):
    """Data that tell how many samples of a split were evaluated."""

    counted: Callable[[int], None] | None

    def size_of(self, split: Any) -> int:
        """Return how many samples a split has."""


class Evaluating:
    """Shows on standard error how many samples of a split have been evaluated.

    In a terminal that is a bar; in a pipe a line now and then, with the time left.

    Args:
        title: what runs.
        data: the data, which tells this of each batch.
        split: the split that is evaluated.
        interval: seconds between two lines.
        clock: gives the seconds.
    """

    def __init__(
        self,
        title: str,
        data: Counted,
        split: str,
        *,
        interval: float = 10.0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._title, self._data, self._total = title, data, data.size_of(split)
        self._interval, self._clock = interval, clock
        self._done = 0
        self._bar: Display = Silent()
        if sys.stderr.isatty():
            self._bar = Bar(title, start=0, total=self._total, console=Console(stderr=True))

    def __enter__(self) -> None:
        self._since = self._said = self._clock()
        self._bar.__enter__()
        self._data.counted = self._count

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._data.counted = None
        self._bar.__exit__(kind, error, trace)

    def _count(self, samples: int) -> None:
        self._done += samples
        self._bar.step(self._done)
        now = self._clock()
        if isinstance(self._bar, Bar) or now - self._said < self._interval:
            return
        self._said = now
        left = _clock((now - self._since) / self._done * (self._total - self._done))
        print(f"{self._title}  {self._done:,}/{self._total:,} samples  {left} left", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
