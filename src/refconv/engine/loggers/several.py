"""The loggers of a run together: opened before it trains, and left behind if they fail while it does."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from refconv.engine.loggers.files import Csv, TensorBoard
from refconv.engine.loggers.logger import LoggedRun, Logger
from refconv.engine.loggers.services import Mlflow, Trackio, Wandb
from refconv.errors import RefconvWarning, RunError, SettingError
from refconv.models.run_folder import RunFolder, write_whole
from refconv.process.volume import quiet
from refconv.recipe.fields import LOGGERS
from refconv.recipe.recipe import Recipe
from refconv.records import conformed, parsed_json

KINDS: dict[str, type[Logger]] = dict(zip(LOGGERS, (TensorBoard, Csv, Wandb, Mlflow, Trackio), strict=True))


def check_installed(names: Sequence[str]) -> None:
    """Look whether the packages of loggers are there, before anything is opened.

    Raises:
        SettingError: if one is missing.
    """
    for name in names:
        kind = KINDS[name]
        if importlib.util.find_spec(kind.package) is None:
            what, remedy = "needs a package that is not installed", f"pip install 'refconv[{kind.extra}]'"
            raise SettingError(what, where=f"log = {name}", expected=kind.package, remedy=remedy)


class Loggers:
    """The loggers that a recipe names. Their ids are kept in RUN/loggers.json, so that a resumed run goes on with them.

    Raises:
        RunError: if one cannot be opened: nothing is lost then.
    """

    def __init__(self, recipe: Recipe, folder: RunFolder, *, step: int = 0) -> None:
        self._open: dict[str, Logger] = {}
        path = folder.loggers_file
        ids = _ids(path)
        for name in recipe.log:
            run = LoggedRun(folder.path, recipe.to_dict(), recipe.log_kwargs, step, ids.get(name))
            logger = KINDS[name]()
            try:
                with _beside_the_result():
                    found = logger.open(run)
            except Exception as error:  # foreign code may raise anything
                self.close(finished=False)
                what, remedy = "cannot be opened", f"see to it, or resume without log = {name}"
                where = f"{folder.path}: log = {name}"
                raise RunError(what, where=where, found=_words(error), remedy=remedy) from error
            self._open[name] = logger
            if found is not None and ids.get(name) != found:
                ids[name] = found
                write_whole(path, json.dumps(ids).encode())

    def metrics(self, kind: str, *, step: int, epoch: float, values: Mapping[str, float]) -> None:
        """Log numbers."""
        self._each(lambda logger: logger.metrics(kind, step=step, epoch=epoch, values=values))

    def record(self, record: Mapping[str, Any]) -> None:
        """Log the record of the finished run."""
        self._each(lambda logger: logger.record(record))

    def flush(self) -> None:
        """Bring what was logged to where it is kept."""
        self._each(lambda logger: logger.flush())

    def close(self, *, finished: bool) -> None:
        """End all of them."""
        self._each(lambda logger: logger.close(finished=finished))
        self._open = {}

    def _each(self, call: Callable[[Logger], None]) -> None:
        """Call all loggers; one that fails is left out from then on, with a warning."""
        for name, logger in list(self._open.items()):
            if (error := _failure(call, logger)) is not None:
                del self._open[name]
                text = f"log = {name}: failed, and is left out from here on; training goes on; found {_words(error)}"
                warnings.warn(text, RefconvWarning, stacklevel=2)


def _ids(path: Path) -> dict[str, str]:
    """Return by which names loggers know the run, empty at its start."""
    try:
        found: dict[str, str] = conformed(
            dict[str, str], parsed_json(path.read_text(encoding="utf-8")) if path.is_file() else {}
        )
    except (OSError, ValueError) as error:
        remedy = "remove it, and loggers start anew"
        raise RunError("damaged", where=str(path), found=str(error), remedy=remedy) from error
    return found


def _failure(call: Callable[[Logger], None], logger: Logger) -> Exception | None:
    """Return what a call raised, if anything."""
    try:
        with _beside_the_result():
            call(logger)
    except Exception as error:  # noqa: BLE001  # foreign code may raise anything, and training is worth more
        return error
    return None


def _beside_the_result() -> contextlib.redirect_stdout[Any]:
    """Send what packages print to standard error, or nowhere: standard output may be JSON."""
    return contextlib.redirect_stdout(io.StringIO() if quiet() else sys.stderr)


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
