"""A run of a study executed in this process: started, resumed or found finished."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

from refconv.engine.loop import train
from refconv.engine.run_record import RunRecord
from refconv.errors import RecordError, RefconvError, RunError, StudyError, TrainingError
from refconv.models import model_folder
from refconv.models.run_folder import RunFolder, write_whole
from refconv.process.interruption import StoppedError
from refconv.process.shortage import SHORTAGES, shortage
from refconv.recipe.code import trust_named
from refconv.recipe.recipe import Recipe
from refconv.studies.outcome import Outcome as Outcome  # known by this name too
from refconv.studies.runs import Run

DIVERGED_FILE = "diverged.txt"
"""In the folder of a selection run whose loss was not finite: why. Such a run is over, and its settings are out."""


def is_over(run: Run) -> bool:
    """Return whether a run finished, or diverged while settings were chosen; a folder of other settings is refused."""
    over = RunFolder(run.folder).record_file.is_file() or (run.folder / DIVERGED_FILE).is_file()
    if over:
        _check_same(run)
    return over


def has_weights(folder: Path) -> bool:
    """Return whether the result of a finished run is still in its folder."""
    return model_folder.has_weights(RunFolder(folder).model_folder)


def record_of(run: Run) -> RunRecord | None:
    """Return the record of a run; None if it diverged or has not finished."""
    path = RunFolder(run.folder).record_file
    if not path.is_file():
        return None
    try:
        return RunRecord.read(path)
    except RecordError as error:
        remedy = "remove the folder to run it again"
        raise RunError("cannot read the record", where=str(path), found=error.found, remedy=remedy) from error


def execute(run: Run, keep: str) -> Outcome:
    """Train until the run is over, is stopped, or fails; ``keep`` as in :class:`refconv.studies.study.Study`.

    A run that is over already is not run again: another machine may have finished it and been lost before it said so.
    What the machine lacks fails the run.

    Raises:
        SHORTAGES: any of these kinds where the machine lacks nothing, which is a bug.
    """
    folder = RunFolder(run.folder)
    try:
        if (run.folder / DIVERGED_FILE).is_file():
            _check_same(run)
            return Outcome("diverged", (run.folder / DIVERGED_FILE).read_text(encoding="utf-8").strip())
        # A base that is known from a journal left a record, and now its weights are needed.
        bare = run.kind == "base" and folder.record_file.is_file() and not has_weights(run.folder)
        if bare or not is_over(run):
            # Killed before its first checkpoint, a run left its recipe and an empty file of metrics.
            if bare or (folder.recipe_file.is_file() and not folder.checkpoint_file.is_file()):
                folder.clear()
            resume = folder.checkpoint_file.is_file()
            train(_check_same(run) if resume else run.recipe, run.folder, resume=resume, show=False)
    except StoppedError as error:
        return Outcome("stopped", str(error))
    except TrainingError as error:
        if run.kind != "selection":
            return Outcome("failed", str(error))
        write_whole(run.folder / DIVERGED_FILE, f"{error}\n".encode())
        _remove(folder, models=True)
        return Outcome("diverged", str(error))
    except RefconvError as error:
        return Outcome("failed", str(error))
    except SHORTAGES as error:
        if (line := shortage(error)) is None:
            raise
        return Outcome("failed", f"{run.folder}: {line}")
    if keep != "all":
        _remove(folder, models=run.kind == "selection" or (run.kind == "final" and keep == "records"))
    return Outcome("finished")


def _check_same(run: Run) -> Recipe:
    """Return the recipe of a run's folder, if it is the wanted one; a base trained here may have moved since."""
    trust_named(run.recipe)
    before = RunFolder(run.folder).recipe()
    now = before if run.base is None else dataclasses.replace(before, checkpoint=run.recipe.checkpoint)
    if names := now.differences(run.recipe):
        expected, found = (", ".join(f"{name}={getattr(one, name)!r}" for name in names) for one in (run.recipe, now))
        what, remedy = "the folder holds a run with other settings", "give another --out, or remove the folder"
        raise StudyError(what, where=str(run.folder), expected=expected, found=found, remedy=remedy)
    return before


def _remove(folder: RunFolder, *, models: bool) -> None:
    folder.checkpoint_file.unlink(missing_ok=True)
    if models and folder.model_folder.is_dir():
        shutil.rmtree(folder.model_folder)
