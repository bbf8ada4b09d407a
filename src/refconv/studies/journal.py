"""The journal of a study: what its finished runs measured, in one file small enough to keep beside the study.

Run folders are large and stay where they were made. With the journal the same study goes on elsewhere without running
anything again that is noted in it. Weights are not in it: a base is trained again if, and only if, a run that is
missing goes on from it.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from refconv.engine.run_record import RunRecord
from refconv.errors import RefconvError, StudyError
from refconv.models.run_folder import RunFolder, write_whole, writing
from refconv.recipe.recipe import RATE_FROM_SCRATCH, Recipe
from refconv.studies.execution import DIVERGED_FILE, record_of
from refconv.studies.runs import Run

_FORMER_DEFAULTS = {"lr": RATE_FROM_SCRATCH}
"""What an entry means that leaves a setting out: the default when the first journals were written."""


class Journal:
    """The journal of one study's folder: a line of JSON for each run that is over, in the order of their folders.

    Args:
        path: the file; it need not exist.
        out: folder of the study.
    """

    def __init__(self, path: Path, out: Path) -> None:
        self.path, self.out = path, out
        self._lines = self._read()

    def restore(self) -> int:
        """Put recipe and record of every noted run into its folder, where there is none; return how many.

        Raises:
            StudyError: if an entry is damaged.
            RunError: if a folder cannot be written.
        """
        restored = 0
        for name, entry in self._lines.items():
            folder = RunFolder(self.out / name)
            if folder.path.exists():
                continue
            try:
                recipe = Recipe.from_mapping({**_FORMER_DEFAULTS, **_completed(entry["recipe"])})
                record = None if entry["record"] is None else RunRecord.from_dict(entry["record"])
                words = entry["diverged"]
            except (RefconvError, KeyError, TypeError, ValueError, AttributeError) as error:
                raise self._damaged(name, error) from error
            recorded = (DIVERGED_FILE, f"{words}\n") if record is None else (folder.record_file.name, record.to_json())
            partial = folder.path.with_name(f".{folder.path.name}.partial")
            with writing(folder.path):
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                for file, text in ((folder.recipe_file.name, recipe.to_toml()), recorded):
                    (partial / file).write_text(text, encoding="utf-8")
                partial.replace(folder.path)
            restored += 1
        return restored

    def note(self, runs: Iterable[Run]) -> None:
        """Note runs that are over.

        Raises:
            RunError: if a record is damaged, or the file cannot be written.
        """
        for run in runs:
            record = record_of(run)
            diverged = run.folder / DIVERGED_FILE
            self._lines[run.folder.relative_to(self.out).as_posix()] = {
                "recipe": self._said(run),
                "record": None if record is None else record.to_dict(),
                "diverged": diverged.read_text(encoding="utf-8").strip() if record is None else None,
            }
        lines = [json.dumps({"run": name, **self._lines[name]}, ensure_ascii=False) for name in sorted(self._lines)]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, "".join(f"{line}\n" for line in lines).encode())

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.is_file():
            return {}
        found = {}
        for number, line in enumerate(self.path.read_text(encoding="utf-8").splitlines(), start=1):
            try:
                entry = json.loads(line)
                name = entry.pop("run")
                inside = (self.out / name).resolve().is_relative_to(self.out.resolve())
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                raise self._damaged(f"line {number}", error) from error
            if not inside:
                raise self._damaged(f"line {number}", f"{name!r} is outside of the study's folder")
            found[name] = entry
        return found

    def _said(self, run: Run) -> dict[str, Any]:
        """Return the settings of a run that are not the defaults, and always the scale of the Gram.

        A base is named within the study's folder.
        """
        recipe = run.recipe
        if run.base is not None:
            recipe = dataclasses.replace(recipe, checkpoint=run.base.relative_to(self.out).as_posix())
        values = recipe.to_dict()
        return {
            field.name: values[field.name]
            for field in dataclasses.fields(recipe)
            if field.name == "gram_scale" or getattr(recipe, field.name) != _default(field)
        }

    def _damaged(self, where: str, error: object) -> StudyError:
        return StudyError(
            "a damaged entry of the journal", where=f"{self.path}, {where}", found=str(error), remedy="remove the line"
        )


@contextmanager
def restored_copy(journal: Path, out: Path) -> Iterator[Path]:
    """Give a temporary folder with the records that a study's folder would have after restoring its journal.

    The study's folder is only read, and errors name it in place of the temporary one.

    Args:
        journal: the file; it need not exist.
        out: folder of the study; it need not exist.

    Raises:
        StudyError: if an entry of the journal is damaged.
    """
    with TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        try:
            for recipe in out.rglob(RunFolder(out).recipe_file.name):
                there = place / recipe.parent.relative_to(out)
                there.mkdir(parents=True)
                for name in (recipe.name, RunFolder(out).record_file.name, DIVERGED_FILE):
                    if (recipe.parent / name).is_file():
                        shutil.copyfile(recipe.parent / name, there / name)
            Journal(journal, place).restore()
            yield place
        except RefconvError as error:
            raise type(error)(str(error).replace(str(place), str(out))) from error


def _completed(said: dict[str, Any]) -> dict[str, Any]:
    """Return noted settings with a scale of the Gram: entries without one are older than the present default."""
    return said if {"gram_scale", "normalize"} & set(said) else {"gram_scale": "paper", **said}


def _default(field: dataclasses.Field[Any]) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
