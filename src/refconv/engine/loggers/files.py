"""Loggers that write files into the folder of the run: TensorBoard's events, and CSV."""

from __future__ import annotations

import csv
import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from refconv.engine.loggers.logger import LoggedRun, Logger, flat
from refconv.models.run_folder import RunFolder, write_whole

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorBoard(Logger):
    """Events in RUN/tensorboard; what an interrupted session wrote after its last checkpoint is not shown.

    A thread of the package writes them. What goes wrong there is raised by a later call, at the latest when the file is
    closed, in place of the traceback that the thread prints.
    """

    package, extra = "tensorboard", "train"

    def open(self, run: LoggedRun) -> str | None:
        """Write the recipe as a text, and go on after the steps taken."""
        from torch.utils.tensorboard import SummaryWriter

        self._failed: BaseException | None = None
        self._former_hook = threading.excepthook
        threading.excepthook = self._hook
        self._events: SummaryWriter = SummaryWriter(
            str(RunFolder(run.folder).tensorboard_folder), purge_step=run.step + 1
        )
        self._events.add_text("recipe", _as_code(run.recipe), run.step)
        return None

    def metrics(self, kind: str, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Write scalars."""
        for name, value in values.items():
            self._events.add_scalar(f"{kind}/{name}", value, step)

    def record(self, record: Mapping[str, Any]) -> None:
        """Write the record as a text."""
        self._events.add_text("record", _as_code(record), record.get("steps", 0))

    def flush(self) -> None:
        """Write what is held back."""
        self._events.flush()

    def close(self, *, finished: bool) -> None:
        """Close the file, at which the thread ends; what it could not write is raised."""
        try:
            self._events.close()
        finally:
            if threading.excepthook == self._hook:
                threading.excepthook = self._former_hook
        if self._failed is not None:
            raise self._failed

    def _hook(self, told: threading.ExceptHookArgs) -> None:
        if type(told.thread).__module__.startswith("tensorboard."):
            self._failed = told.exc_value
        else:
            self._former_hook(told)


def _as_code(values: Mapping[str, Any]) -> str:
    """Return values as Markdown that is shown as it stands."""
    return "```\n" + json.dumps(values, indent=2, default=str) + "\n```"


class Csv(Logger):
    """One table for each kind in RUN/csv, such as train.csv, with a column for each number; and summary.csv."""

    package, extra = "csv", "train"

    def open(self, run: LoggedRun) -> str | None:
        """Cut rows of steps that are taken again."""
        self._folder = run.folder / "csv"
        self._folder.mkdir(exist_ok=True)
        for path in self._folder.glob("*.csv"):
            if path.name != "summary.csv":
                self._rewrite(path, [row for row in _rows(path) if int(row["step"]) <= run.step])
        self._config = flat(run.recipe)
        return None

    def metrics(self, kind: str, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Add a row; a number that had no column gets one."""
        path, row = self._folder / f"{kind}.csv", {"step": step, "epoch": round(epoch, 4), **values}
        known = _columns(path)
        if not set(row) <= set(known):
            self._rewrite(path, [*_rows(path), row])
            return
        with path.open("a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, known).writerow(row)

    def record(self, record: Mapping[str, Any]) -> None:
        """Write settings and record as names and values."""
        values = {**{f"recipe.{name}": value for name, value in self._config.items()}, **flat(record, "record.")}
        with (self._folder / "summary.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("name", "value"), *values.items()])

    def close(self, *, finished: bool) -> None:
        """Do nothing: each row was written at once."""

    @staticmethod
    def _rewrite(path: Path, rows: list[dict[str, Any]]) -> None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
        lines = [columns, *([row.get(name, "") for name in columns] for row in rows)]
        if not rows:
            path.unlink(missing_ok=True)
            return
        text = "".join(",".join(str(value) for value in line) + "\n" for line in lines)
        write_whole(path, text.encode())


def _columns(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return next(csv.reader(file), [])


def _rows(path: Path) -> list[dict[str, Any]]:
    """Return the whole rows of a table: the last one may have been cut off by the end of a process."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and row["step"].isdigit()]
