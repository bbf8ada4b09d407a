"""Progress on the screen: a bar in a terminal, plain lines in a pipe, nothing where nothing is to be shown."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

from rich import progress as rich
from rich.console import Console
from rich.table import Column

from refconv.errors import RefconvWarning, printable, said_by
from refconv.process.volume import quiet

_BETWEEN_MOVES = 0.1  #: Seconds between two moves of a bar at least: a step may take less than a millisecond
_BETWEEN_LINES = 10.0  #: Seconds between two lines about an evaluation at least


def column(text: str, *, last: bool = False) -> rich.TextColumn:
    """Return a column of a bar that shows a field of :meth:`Display.move`, such as ``{task.fields[left]}``."""
    wide = {"overflow": "ellipsis", "ratio": 1} if last else {}  # fills the line; cut where the terminal is narrow
    return rich.TextColumn(text, table_column=Column(no_wrap=True, **wide))  # type: ignore[arg-type]  # values of two types


class Display:
    """Shows progress while it is entered: rich's ``bar`` in a ``terminal``, disabled elsewhere."""

    def __init__(
        self,
        title: str,
        columns: Sequence[rich.ProgressColumn],  # beside the title, from left to right
        *,
        total: int | None = None,  # what there is to do; None if that is not known yet
        done: int = 0,
        show: bool = True,
        error: bool = False,  # on standard error instead of standard output
        transient: bool = False,  # remove the bar at the end
        console: Console | None = None,  # a terminal; by default that of the stream, if it is one
        **fields: Any,  # what columns show at first
    ) -> None:
        stream = sys.stderr if error else sys.stdout
        show = show and not quiet()
        self._show, self._error = show, error
        self.terminal = show and (console is not None or stream.isatty())
        console = console or Console(stderr=error)
        # A narrow terminal shortens the bar first, then cuts the last column.
        width = min(40, max(5, console.width - 100))
        shown = column("{task.description}"), rich.BarColumn(bar_width=width), *columns
        look: dict[str, Any] = {"refresh_per_second": 5, "expand": True, "transient": transient}
        self.bar = rich.Progress(*shown, console=console, disable=not self.terminal, **look)
        self.task = self.bar.add_task(title, total=total, completed=done, **fields)
        self._moved = 0.0

    def __enter__(self) -> Any:
        self.bar.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.bar.stop()

    def move(self, done: int, total: int | None = None, **fields: Any) -> None:
        """Move the bar, ten times a second at most where only the bar moves and no other columns do."""
        now = time.perf_counter()
        if not self.terminal or (not fields and done != total and now - self._moved < _BETWEEN_MOVES):
            return
        self._moved = now
        self.bar.update(self.task, completed=done, total=total, **fields)

    def say(self, line: str) -> None:
        """Show a line that stays: above the bar, or at once in a pipe."""
        line = printable(line, lines=True)
        try:
            if self.terminal:
                self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
            elif self._show:
                print(line, file=sys.stderr if self._error else sys.stdout, flush=True)
        except OSError as error:  # a log on a full disk, a pipe that nobody reads: the work is worth more
            self._show = self.terminal = False
            message = f"progress is not shown any more, and the work goes on; found {said_by(error)}"
            warnings.warn(message, RefconvWarning, stacklevel=2)


class StepDisplay(Display):
    """The progress of steps, with rate and time left; ``show``, ``error`` and ``console`` as in :class:`Display`."""

    def __init__(self, title: str, *, start: int = 0, total: int, **where: Any) -> None:
        left = rich.TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True))
        count = rich.MofNCompleteColumn(table_column=Column(no_wrap=True))
        columns = (count, left, rich.TextColumn("left"), column("{task.fields[numbers]}", last=True))
        super().__init__(title, columns, total=total, done=start, numbers="", **where)
        self._title, self._start, self._total = title, start, total
        self._since = time.perf_counter()

    def train(self, *, step: int, epoch: float, loss: float, lr: float, rate: float) -> None:
        """Show how training goes: beside the bar, or as a line with the time left, estimated from this session."""
        if self.terminal:
            self.move(step, numbers=f"loss {loss:.4f}  {rate:,.0f} samples/s  epoch {epoch:.1f}  lr {lr:.3g}")
            return
        self.say(
            f"{self._title}  step {step}/{self._total}  epoch {epoch:.2f}  loss {loss:.4f}  lr {lr:.3g}  "
            f"{rate:,.0f} samples/s  {self._left(step)} left"
        )

    def _left(self, step: int) -> str:
        per_step = (time.perf_counter() - self._since) / max(1, step - self._start)
        minutes, rest = divmod(round(per_step * (self._total - step)), 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Evaluating(StepDisplay):
    """Shows on standard error how many samples of a split of ``data`` have been evaluated; in a pipe by lines."""

    def __init__(self, title: str, data: Any, split: str) -> None:
        super().__init__(title, total=data.size_of(split), error=True)
        self._data, self._done, self._said = data, 0, self._since

    def __enter__(self) -> Any:
        self._data.counted = self._count
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        self._data.counted = None
        super().__exit__(*raised)

    def _count(self, samples: int) -> None:
        self._done += samples
        self.move(self._done)
        now = time.perf_counter()
        if not self.terminal and now - self._said >= _BETWEEN_LINES:
            self._said = now
            self.say(f"{self._title}  {self._done:,}/{self._total:,} samples  {self._left(self._done)} left")
