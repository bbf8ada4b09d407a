"""The progress of an analysis, on standard error: a bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from typing import Any

from rich.progress import TimeRemainingColumn
from rich.table import Column

from refconv.process import progress
from refconv.process.progress import column


class Display(progress.Display):
    """Shows which measure runs, and the time left of it; ``title``: what is analysed, may be empty."""

    def __init__(self, title: str = "", **where: Any) -> None:
        left = TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True))
        columns = (left, column("{task.fields[place]}", last=True))
        super().__init__(title, columns, error=True, transient=True, place="", **where)
        self._title = f"{title}: " if title else ""

    def say(self, line: str) -> None:
        """Show a line that stays, after the title."""
        super().say(f"{self._title}{line}")

    def begin(self, name: str, number: int, count: int) -> None:
        """Start the bar anew for a measure, the number-th of count; in a pipe, print a line."""
        if not self.terminal:
            self.say(f"measuring {name} ... ({number} of {count})")
            return
        self.bar.remove_task(self.task)
        self.task = self.bar.add_task(f"{self._title}measuring {name}", total=None, place=f"left, {number} of {count}")

    def progress(self, done: int, total: int) -> None:
        """Move the bar of the measure; a total of 0 is not known."""
        self.move(done, total or None)


def announced(count: int, with_data: int, seconds: float | None) -> str:
    """Return what is said before measuring: how much there is to do, and how long it takes.

    Measures ``with_data`` run the models and take ``seconds`` at most, about, if they are bounded; the others take
    seconds.

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
