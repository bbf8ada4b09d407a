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
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from refconv.errors import RecipeError, StudyError
from refconv.recipe.recipe import Recipe
from refconv.studies.measures import MEASURES
from refconv.studies.study import WEIGHTS, Architecture, Base, Method, Study
from refconv.studies.study_table import Table

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

KEEP = ("records", "models", "all")

_SETTINGS = {field.name: field for field in dataclasses.fields(Recipe)}
_OF_THE_STUDY = ("seed", "epochs", "val_split", "test", "method", "checkpoint", "pretrained")
"""Settings that the study itself gives to each run."""

_OF_METHODS = ("method", "optimizer")
"""Groups of settings in which methods may differ; in all others they are matched."""

_SOURCES = ("samples", "checkpoint", "pretrained", "backbones")
"""Of a base: exactly one of them."""

_FIRST_SELECTION_SEED = 1000


def read_study(path: Path | str) -> Study:
    """Read a study.

    Args:
        path: the TOML file.

    Raises:
        StudyError: if the file cannot be read, is not TOML, or holds an unknown key or impossible value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError("cannot read the study", where=str(path), found=str(error)) from error
    except tomllib.TOMLDecodeError as error:
        raise StudyError("not a TOML file", where=str(path), found=str(error)) from error
    try:
        return _study(Table(content, ""), text)
    except (StudyError, RecipeError) as error:
        raise StudyError(str(error), where=str(path)) from error


def _study(content: Table, text: str) -> Study:
    """Read the whole file.

    Raises:
        StudyError: if something in it is unknown, missing or impossible.
        RecipeError: if a setting has an impossible value.
    """
    head, common = content.table("study", required=True), content.table("recipe").settings(_shared(), _SETTINGS)
    base, grid = _base(content.table("base")), _grid(content.table("grid"))
    samples = head.count("samples")
    architectures = content.table("architectures", required=True)
    methods = content.table("methods", required=True)
    study = Study(
        name=head.text("name"),
        description=head.text("description", ""),
        seeds=head.seeds("seeds", 0),
        selection_seeds=head.seeds("selection_seeds", _FIRST_SELECTION_SEED, default=2),
        select_by=head.word("select_by", [m.name for m in MEASURES.values() if m.validated], "loss"),
        reference=head.text("reference", "plain"),
        val_split=head.share("val_split", 0.1),
        keep=head.word("keep", KEEP, "models"),
        architectures=tuple(_architecture(table, common, base, samples) for table in architectures.tables()),
        methods=tuple(_method(table, grid) for table in methods.tables()),
        text=text,
    )
    head.finish()
    content.finish()
    if study.reference not in {method.name for method in study.methods}:
        names = ", ".join(method.name for method in study.methods)
        raise StudyError("no such method", where="study.reference", expected=f"one of {names}", found=study.reference)
    both = sorted(set(study.seeds) & set(study.selection_seeds))
    if both:
        raise StudyError(
            "a final run must not help to choose its own settings",
            where="study.selection_seeds",
            expected="other seeds than study.seeds",
            found=", ".join(map(str, both)),
        )
    _check_recipes(study)
    return study


def _shared() -> tuple[str, ...]:
    return tuple(name for name in _SETTINGS if name not in _OF_THE_STUDY)


def _architecture(
    table: Table, common: Mapping[str, Any], shared_base: Mapping[str, Any], samples: int
) -> Architecture:
    """Read an architecture.

    Raises:
        StudyError: if its base is both trained here and given, or neither.
    """
    own = _base(table.table("base"))
    if "samples" in own:
        shared_base = {name: value for name, value in shared_base.items() if name not in (*WEIGHTS, "backbones")}
    base = own if _sources(own) and "samples" not in own else {**shared_base, **own}
    sources = _sources(base)
    if len(sources) != 1:
        raise StudyError(
            "two sources of the base" if sources else "no base",
            where=f"architectures.{table.name}.base",
            expected="samples, to train it, or checkpoint, or pretrained, or backbones",
            found=" and ".join(sources) or None,
        )
    idle = [name for name in base if name not in (*WEIGHTS, "backbones")] if sources != ["samples"] else []
    if idle:
        raise StudyError(
            "has no effect beside weights that are given", where=f"architectures.{table.name}.base", found=idle[0]
        )
    return Architecture(
        name=_folder_name(table),
        samples=table.count("samples", samples),
        base=Base(
            samples=base.get("samples"),
            settings={name: value for name, value in base.items() if name not in {"samples", "backbones"}},
            backbones=base.get("backbones"),
        ),
        settings={**common, **table.settings(_shared(), _SETTINGS)},
    )


def _base(table: Table) -> dict[str, Any]:
    seen: dict[str, Any] = {"samples": table.count("samples")} if table.has("samples") else {}
    if table.has("backbones"):
        seen["backbones"] = table.text("backbones")
    return {**seen, **table.settings((*_shared(), "checkpoint", "pretrained"), _SETTINGS)}


def _sources(base: Mapping[str, Any]) -> list[str]:
    return [name for name in _SOURCES if base.get(name)]


def _method(table: Table, grid: Mapping[str, tuple[Any, ...]]) -> Method:
    """Read a method.

    Raises:
        StudyError: if it changes what is the same for all methods, or gives a setting and a grid of it.
    """
    own = _grid(table.table("grid"))
    from_base = table.flag("from_base", True)
    settings = table.settings((*_shared(), "method"), _SETTINGS)
    for name in (*settings, *own):
        if _SETTINGS[name].metadata["group"] not in _OF_METHODS:
            raise StudyError(
                "is the same for every method of a study",
                where=f"methods.{table.name}.{name}",
                remedy="give it under [recipe] or an architecture",
            )
    for name in own:
        if name in settings and not isinstance(settings[name], Mapping):
            raise StudyError("given twice", where=f"methods.{table.name}.{name}", remedy="give a value or a grid")
    return Method(
        name=_folder_name(table),
        from_base=from_base,
        settings={"method": table.name, **settings},
        # A value of the method's own replaces the grid of the study.
        grid={**{name: values for name, values in grid.items() if name not in settings}, **own},
    )


def _folder_name(table: Table) -> str:
    """Return the name of a table that names folders and is matched by patterns.

    Raises:
        StudyError: if it cannot.
    """
    if not re.fullmatch(r"\w[\w.+-]*", table.name):
        raise StudyError(
            "cannot be the name of a folder", where=table.path, expected="letters, digits and any of _ . + -"
        )
    return table.name


def _grid(table: Table) -> dict[str, tuple[Any, ...]]:
    known = [name for name, field in _SETTINGS.items() if field.metadata["group"] in _OF_METHODS and name != "method"]
    return {name: table.values(name) for name in table.settings(known, _SETTINGS)}


def _check_recipes(study: Study) -> None:
    """Make every recipe once, so that impossible values are found before the first run.

    Raises:
        StudyError: if a method that starts anew is to get the budget of a base that was not trained here, or a study of
            backbones has something to choose.
    """
    for architecture in study.architectures:
        with _named(f"architectures.{architecture.name}"):
            study.base_recipe(architecture)
        for method in study.methods:
            if not method.from_base and architecture.base.given:
                raise StudyError(
                    "cannot start anew with the budget of a base that was not trained here",
                    where=f"methods.{method.name}",
                    remedy=f"train the base of {architecture.name}, or leave the method out",
                )
            with _named(f"methods.{method.name}"):
                for point in method.points:
                    study.recipe(architecture, method, point)
            if architecture.base.backbones is not None and (len(method.points) > 1 or not method.from_base):
                raise StudyError(
                    "is trained from the backbone of each seed, with nothing to choose",
                    where=f"methods.{method.name}",
                    expected="settings without a grid, and from_base = true",
                )


@contextmanager
def _named(where: str) -> Iterator[None]:
    """Say in which table of the study an impossible setting stands.

    Raises:
        StudyError: if the block raises a RecipeError.
    """
    try:
        yield
    except RecipeError as error:
        raise StudyError(str(error), where=where) from error
