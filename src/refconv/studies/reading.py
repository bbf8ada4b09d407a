"""A study read from TOML, and checked before anything runs.

[study]                   what is compared, over which seeds
[recipe]                  settings of `refconv train` that all runs share
[base]                    how the base is trained, or where it comes from
[grid]                    settings that every method chooses on the validation split
[architectures.NAME]      a model; settings that differ from [recipe]; its own `samples` and `base`
[methods.NAME]            settings of a method; its own `grid`; `from_base = false` starts anew

This module imports neither torch nor timm.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from refconv.errors import RecipeError, StudyError, did_you_mean, names_beside, said_by
from refconv.paths import expanded, path_of
from refconv.recipe.recipe import Recipe
from refconv.recipe.timm_names import translated
from refconv.records import parsed_toml
from refconv.studies.study import WEIGHTS, Architecture, Base, Method, Study, recipe_errors_in
from refconv.task_measures import compared_measures

_KEEP = ("records", "models", "all")
_SETTINGS = {field.name: field for field in dataclasses.fields(Recipe)}
_OF_THE_STUDY = ("seed", "epochs", "val_split", "test", "method", "checkpoint", "pretrained")
_SHARED = tuple(name for name in _SETTINGS if name not in _OF_THE_STUDY)
_OF_METHODS = frozenset(
    name
    for name, field in _SETTINGS.items()
    if field.metadata["group"] in {"method", "optimizer"} or name.startswith("model_ema")
)
"""Settings in which methods may differ; all others are matched."""

_SOURCES = ("samples", "checkpoint", "pretrained", "backbones")  # of a base: exactly one of them
_FIRST_SELECTION_SEED = 1000
_MOST_SEEDS = 10_000
_REQUIRED: Any = object()


def read_study(path: Path | str) -> Study:
    """Read a study from a TOML file.

    Raises:
        StudyError: if the file cannot be read, is not TOML, or holds an unknown key or impossible value.
    """
    try:
        text = path_of(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        remedy = names_beside(path_of(path)) if isinstance(error, FileNotFoundError) else None
        raise StudyError("cannot read the study", where=str(path), found=said_by(error), remedy=remedy) from error
    try:
        content = expanded(parsed_toml(text))
    except ValueError as error:
        raise StudyError("not a TOML file", where=str(path), found=str(error)) from error
    try:
        study = _study(_Table(content), text)
        _check_recipes(study)
    except (StudyError, RecipeError) as error:
        raise StudyError(str(error), where=str(path)) from error
    return study


def _study(content: _Table, text: str) -> Study:
    head, common = content.table("study", required=True), content.table("recipe").settings(_SHARED)
    base, grid = _base(content.table("base")), _grid(content.table("grid"))
    samples = head.get("samples", "count")
    architectures, methods = content.table("architectures", required=True), content.table("methods", required=True)
    study = Study(
        name=head.get("name", "text"),
        description=head.get("description", "text", ""),
        seeds=head.seeds("seeds", 0),
        selection_seeds=head.seeds("selection_seeds", _FIRST_SELECTION_SEED, default=2),
        select_by=head.word("select_by", [m.name for m in compared_measures().values() if m.validated], "loss"),
        reference=head.get("reference", "text", "plain"),
        val_split=float(head.get("val_split", "share", 0.1)),
        keep=head.word("keep", _KEEP, "models"),
        architectures=tuple(_architecture(table, common, base, samples) for table in architectures.tables()),
        methods=tuple(_method(table, grid) for table in methods.tables()),
        text=text,
    )
    head.settings(())
    content.settings(())
    names = [method.name for method in study.methods]
    if study.reference not in names:
        expected = f"one of {', '.join(names)}"
        raise StudyError("no such method", where="study.reference", expected=expected, found=study.reference)
    if both := sorted(set(study.seeds) & set(study.selection_seeds)):
        raise StudyError(
            "a final run must not help to choose its own settings", where="study.selection_seeds",
            expected="other seeds than study.seeds", found=", ".join(map(str, both)),
        )  # fmt: skip
    return study


def _architecture(table: _Table, common: Mapping[str, Any], base: Mapping[str, Any], samples: int) -> Architecture:
    """Read an architecture; what its own base says comes before the study's."""
    own, where = _base(table.table("base")), f"architectures.{table.name}.base"
    given = (*WEIGHTS, "backbones")
    if "samples" in own:
        base = {name: value for name, value in base.items() if name not in given}
    if "samples" in own or not any(own.get(name) for name in _SOURCES):
        own = {**base, **own}
    sources = [name for name in _SOURCES if own.get(name)]
    if len(sources) != 1:
        what = "two sources of the base" if sources else "no base"
        expected = "samples, to train it, or checkpoint, or pretrained, or backbones"
        raise StudyError(what, where=where, expected=expected, found=" and ".join(sources) or None)
    idle = [name for name in own if name not in given] if sources != ["samples"] else []
    if idle:
        raise StudyError("has no effect beside weights that are given", where=where, found=idle[0])
    settings = {name: value for name, value in own.items() if name not in {"samples", "backbones"}}
    return Architecture(
        name=_folder_name(table),
        samples=table.get("samples", "count", samples),
        base=Base(samples=own.get("samples"), settings=settings, backbones=own.get("backbones")),
        settings={**common, **table.settings(_SHARED)},
    )


def _base(table: _Table) -> dict[str, Any]:
    kinds = {"samples": "count", "backbones": "text"}
    seen = {name: table.get(name, kind) for name, kind in kinds.items() if name in table}
    return {**seen, **table.settings((*_SHARED, "checkpoint", "pretrained"))}


def _method(table: _Table, grid: Mapping[str, tuple[Any, ...]]) -> Method:
    own, from_base = _grid(table.table("grid")), table.get("from_base", "flag", True)
    settings = table.settings((*_SHARED, "method"))
    for name in (*settings, *own):
        where = f"methods.{table.name}.{name}"
        if name not in _OF_METHODS:
            remedy = "give it under [recipe] or an architecture"
            raise StudyError("is the same for every method of a study", where=where, remedy=remedy)
        if name in own and name in settings and not isinstance(settings[name], Mapping):
            raise StudyError("given twice", where=where, remedy="give a value or a grid")
    return Method(
        name=_folder_name(table),
        from_base=from_base,
        settings={"method": table.name, **settings},
        # A value of the method's own replaces the grid of the study.
        grid={**{name: values for name, values in grid.items() if name not in settings}, **own},
    )


def _folder_name(table: _Table) -> str:
    """Return the name of a table that names folders and is matched by patterns."""
    if not re.fullmatch(r"\w[\w.+-]*", table.name):
        expected = "letters, digits and any of _ . + -"
        raise StudyError("cannot be the name of a folder", where=table.path, expected=expected)
    return table.name


def _grid(table: _Table) -> dict[str, tuple[Any, ...]]:
    known = [name for name in _SETTINGS if name in _OF_METHODS and name != "method"]
    return {name: table.values(name) for name in table.settings(known, read=dict)}


def _check_recipes(study: Study) -> None:
    """Make every recipe once, so that impossible values are found before the first run."""
    for architecture in study.architectures:
        base = architecture.base
        with recipe_errors_in(f"architectures.{architecture.name}"):
            study.base_recipe(architecture)
        for method in study.methods:
            where = f"methods.{method.name}"
            if not method.from_base and base.given:
                what = "cannot start anew with the budget of a base that was not trained here"
                remedy = f"train the base of {architecture.name}, or leave the method out"
                raise StudyError(what, where=where, remedy=remedy)
            with recipe_errors_in(where):
                for point in method.points:
                    study.recipe(architecture, method, point)
            if base.backbones is not None and (len(method.points) > 1 or not method.from_base):
                what = "is trained from the backbone of each seed, with nothing to choose"
                raise StudyError(what, where=where, expected="settings without a grid, and from_base = true")


class _Table:
    """A table whose entries are read one by one; an entry that nothing reads is an unknown key.

    Every method raises a StudyError where an entry is missing, of another type or impossible.
    """

    def __init__(self, content: Mapping[str, Any], path: str = "", name: str = "") -> None:
        self._content, self.path, self.name = dict(content), path, name  # names may contain dots
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._content

    def get(self, name: str, kind: str, default: Any = _REQUIRED) -> Any:
        """Return an entry of one of the kinds in :data:`_KINDS`."""
        self._read.add(name)
        value, (expected, valid) = self._content.get(name, default), _KINDS[kind]
        if value is _REQUIRED:
            unread = ", ".join(sorted(self._content.keys() - self._read))
            raise StudyError("missing key", where=self._where(name), found=unread or "nothing")
        if not valid(value):
            raise self._wrong(name, expected, value)
        return value

    def table(self, name: str, *, required: bool = False) -> _Table:
        """Return a table inside this one; an empty one if it is missing."""
        return _Table(self.get(name, "table", _REQUIRED if required else {}), self._where(name), name)

    def tables(self) -> list[_Table]:
        """Return all entries, each of which must be a table."""
        if not self._content:
            raise StudyError("empty", where=self.path, expected=f"at least one table [{self.path}.NAME]")
        return [self.table(name, required=True) for name in self._content]

    def word(self, name: str, choices: Iterable[str], default: str) -> str:
        """Return one of some words."""
        value, choices = str(self.get(name, "text", default)), tuple(choices)
        if value not in choices:
            raise self._wrong(name, "one of " + ", ".join(choices), value, did_you_mean(value, choices))
        return value

    def seeds(self, name: str, first: int, default: int = _REQUIRED) -> tuple[int, ...]:
        """Return seeds that are listed, or as many as are asked for, counted from the first."""
        value = self.get(name, "seeds", default)
        return tuple(range(first, first + value)) if isinstance(value, int) else tuple(value)

    def values(self, name: str) -> tuple[Any, ...]:
        """Return a list of different values, all of them finite."""
        found = tuple(self.get(name, "values"))
        if any(isinstance(item, float) and not math.isfinite(item) for item in found):
            raise self._wrong(name, "finite numbers", list(found))
        return found

    def settings(self, known: Iterable[str], read: Callable[[Any], dict[str, Any]] = translated) -> dict[str, Any]:
        """Return every entry that was not read yet, each of which must have a known name, or timm's name for it."""
        known = tuple(known)
        with recipe_errors_in(self.path):
            rest = read({name: value for name, value in self._content.items() if name not in self._read})
        for name in rest:
            if name not in known and known and name in _SETTINGS:
                raise StudyError("is not set here: the study gives it to each run", where=self._where(name))
            if name not in known:
                remedy = did_you_mean(name, (*known, *self._read))
                raise StudyError("unknown key", where=self._where(name), remedy=remedy)
        return rest

    def _where(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def _wrong(self, name: str, expected: str, found: Any, remedy: str | None = None) -> StudyError:
        return StudyError("wrong value", where=self._where(name), expected=expected, found=repr(found), remedy=remedy)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 1


def _are_different(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not any(item in value[:i] for i, item in enumerate(value))


def _are_seeds(value: Any) -> bool:
    return (_is_count(value) and value <= _MOST_SEEDS) or (
        _are_different(value) and all(type(item) is int and item >= 0 for item in value)
    )


_KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "table": ("a table", lambda value: isinstance(value, Mapping)),
    "text": ("a text", lambda value: isinstance(value, str)),
    "flag": ("true or false", lambda value: isinstance(value, bool)),
    "share": ("a number from 0 to below 1", lambda value: type(value) in {int, float} and 0 <= value < 1),
    "count": ("a whole number from 1 on", _is_count),
    "seeds": (f"how many, or a list of different whole numbers, at most {_MOST_SEEDS} if counted", _are_seeds),
    "values": ("a list of different values", _are_different),
}
