"""The journal of a study: what its finished runs measured, in one file small enough to keep beside the study.

With the journal the same study goes on elsewhere without running anything again that is noted in it. Weights are not
in it: a base is trained again if, and only if, a run that is missing goes on from it.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypedDict

from refconv.digests import with_digest
from refconv.engine.run_record import RunRecord
from refconv.errors import RefconvError, StudyError
from refconv.models.run_folder import AGAIN, RunFolder, write_whole, writing
from refconv.recipe.recipe import Recipe
from refconv.recipe.rules import RATE_FROM_SCRATCH
from refconv.records import conformed, content_of
from refconv.studies.execution import DIVERGED_FILE, record_of
from refconv.studies.runs import Run

_DEFAULTS = {
    field.name: field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    for field in dataclasses.fields(Recipe)
}
# What a setting is that an entry leaves out: the default when the first journals were written.
_FORMER_DEFAULTS = {"lr": RATE_FROM_SCRATCH}


class _Entry(TypedDict):
    run: str
    recipe: dict[str, Any]
    record: dict[str, Any] | None
    diverged: str | None


class Journal:
    """The journal of the study in folder ``out``: a line of JSON for each run that is over, sorted by their folders."""

    def __init__(self, path: Path, out: Path) -> None:
        self.path, self.out = path, out
        self._lines = self._read()

    def restore(self) -> None:
        """Put recipe and record of every noted run into its folder, where there is none."""
        for name, entry in self._lines.items():
            folder = RunFolder(self.out / name)
            if folder.path.exists():
                continue
            try:
                said = entry["recipe"]
                scale = {} if {"gram_scale", "normalize"} & set(said) else {"gram_scale": "paper"}
                recipe = Recipe.from_mapping({**_FORMER_DEFAULTS, **scale, **said})
                record = None if entry["record"] is None else RunRecord.from_dict(entry["record"])
                words = entry["diverged"]
            except ValueError as error:
                raise self._damaged(name, error) from error
            recorded = (DIVERGED_FILE, f"{words}\n") if record is None else (folder.record_file.name, record.to_json())
            partial = folder.path.with_name(f".{folder.path.name}.partial")
            with writing(folder.path):
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
                for file, text in ((folder.recipe_file.name, recipe.to_toml()), recorded):
                    (partial / file).write_text(text, encoding="utf-8")
                partial.replace(folder.path)

    def note(self, runs: Iterable[Run]) -> None:
        """Note runs that are over."""
        for run in runs:
            record = record_of(run)
            diverged = run.folder / DIVERGED_FILE
            self._lines[run.folder.relative_to(self.out).as_posix()] = {
                "recipe": self._said(run),
                "record": None if record is None else record.to_dict(),
                "diverged": diverged.read_text(encoding="utf-8").strip() if record is None else None,
            }
        entries = [with_digest({"run": name, **self._lines[name]}) for name in sorted(self._lines)]
        lines = [json.dumps(entry, ensure_ascii=False) for entry in entries]
        with writing(self.path, AGAIN):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path, "".join(f"{line}\n" for line in lines).encode(), then=AGAIN)

    def _read(self) -> dict[str, dict[str, Any]]:
        if not self.path.is_file():
            return {}
        found = {}
        try:
            lines = self.path.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise self._damaged("the file", error) from error
        for number, line in enumerate(lines, start=1):
            if not line:
                continue
            try:
                entry = conformed(_Entry, content_of(line))
                name = entry.pop("run")
                inside = (self.out / name).resolve().is_relative_to(self.out.resolve())
            except (OSError, ValueError) as error:
                raise self._damaged(f"line {number}", error) from error
            if not inside:
                raise self._damaged(f"line {number}", f"{name!r} is outside of the study's folder")
            found[name] = entry
        return found

    def _said(self, run: Run) -> dict[str, Any]:
        """Return the settings that are not the defaults, and always ``gram_scale``; the base, within the folder."""
        recipe = run.recipe
        if run.base is not None:
            recipe = dataclasses.replace(recipe, checkpoint=run.base.relative_to(self.out).as_posix())
        values = recipe.to_dict()
        said = [name for name in values if name == "gram_scale" or getattr(recipe, name) != _DEFAULTS[name]]
        return {name: values[name] for name in said}

    def _damaged(self, where: str, error: object) -> StudyError:
        what, remedy = "a damaged entry of the journal", "remove the line"
        return StudyError(what, where=f"{self.path}, {where}", found=str(error), remedy=remedy)


@contextmanager
def restored_copy(journal: Path, out: Path) -> Iterator[Path]:
    """Give a temporary folder with the records that a study's folder would have after restoring its journal."""
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
