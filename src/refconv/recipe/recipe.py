"""The recipe: every setting of a training run in one frozen dataclass, read from and written to TOML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refconv.digests import DIGEST, check_digest, digest_of
from refconv.errors import RecipeError, did_you_mean, names_beside, said_by
from refconv.paths import expanded, path_of
from refconv.recipe.fields import Settings
from refconv.recipe.rules import LEFT_OPEN, check_together, default_rate
from refconv.recipe.settings import check_range, coerced, required
from refconv.recipe.timm_names import TIMM_NAMES, rated, translated
from refconv.records import parsed_toml, type_hints

VERSIONS_TABLE = "versions"  #: The TOML table in which :meth:`Recipe.to_toml` notes the versions used; reading skips it
_TABLES = {f"{owner}_kwargs": owner for owner in ("model", "method", "loss", "opt", "sched")}
"""Tables that belong to the value of another setting."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe(Settings):
    """All settings of one training run.

    Values are checked when the recipe is made: types, ranges, choices, and settings that exclude each other.
    A list is accepted for a tuple, a whole number for a float, and one value for a tuple of any length.
    A learning rate that is not given becomes that of :func:`default_rate`, so ``lr`` always is a number.

    Raises:
        RecipeError: if a value is not possible.

    Example:
        >>> recipe = Recipe(model="test_resnet", data="digits", map_size=3)
        >>> recipe.map_size, recipe.method
        ((3,), 'plain')
    """

    def __post_init__(self) -> None:
        hints = type_hints(type(self))
        fields = {field.name: field for field in dataclasses.fields(self)}
        rate = fields.pop("lr")  # last, since its default depends on others
        for field in (*fields.values(), rate):
            value = getattr(self, field.name)
            value = default_rate(self) if field is rate and value is None else value
            value = coerced(field.name, hints[field.name], expanded(value))
            check_range(field, value)
            object.__setattr__(self, field.name, value)
        check_together(self)

    @property
    def mixes(self) -> bool:
        """Whether each sample of a batch is mixed with its partner."""
        return bool(self.mixup or self.cutmix)

    @classmethod
    def from_toml(cls, path: Path | str, overrides: Mapping[str, Any] | None = None) -> Recipe:
        """Read a TOML file of flat keys; a table ``versions`` is a note and is skipped.

        Settings among the ``overrides`` win over those of the file; a source of weights among them (``pretrained`` or
        ``checkpoint``) also wins over the file's other one. Entries of a table, such as ``sched_kwargs``, are added to
        those of the file, unless the overrides name what the table is for, here ``sched``.

        Raises:
            RecipeError: if the file cannot be read, is not TOML, or holds an unknown key or impossible value.
        """
        settings = read_settings(path, overrides)
        try:
            return cls.from_mapping(settings)
        except RecipeError as error:
            raise RecipeError(str(error), where=str(path)) from error

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Recipe:
        """Make a recipe of names and values, refusing names that are not settings.

        timm's names for settings that have another name here mean these (:mod:`refconv.recipe.timm_names`).
        ``normalize``, which recipes of earlier versions have, is read as the ``gram_scale`` that it meant.

        Raises:
            RecipeError: if a name is unknown, a required one is missing, or a value is not possible.
        """
        fields = {field.name: field for field in dataclasses.fields(cls)}
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            raise RecipeError("not a recipe", expected="names and values", found=f"{values!r:.40}")
        if isinstance(values.get("normalize"), bool):
            meant = "normalized" if values["normalize"] else "paper"
            values = {"gram_scale": meant, **{name: value for name, value in values.items() if name != "normalize"}}
        values = rated(translated(values))
        for name in values:
            if name not in fields:
                raise RecipeError("unknown key", where=name, remedy=did_you_mean(name, [*fields, *TIMM_NAMES]))
        for name, field in fields.items():
            if name not in values and required(field):
                expected, remedy = field.metadata["help"], f"give --{name} or the key in the recipe"
                raise RecipeError("missing key", where=name, expected=expected, remedy=remedy)
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """Return all settings, as plain values and lists."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    def to_toml(self, versions: Mapping[str, str] | None = None) -> str:
        """Return the recipe as TOML: every setting that is not None, and as notes program versions and a digest of it.

        TOML has no null. Reading gives None back, because each setting that may be None is None by default. Without
        versions there are no notes.
        """
        import tomli_w

        values: dict[str, Any] = {name: value for name, value in self.to_dict().items() if value is not None}
        if versions:
            digest = {DIGEST: digest_of(_sorted(values))}
            values = {**digest, **values, VERSIONS_TABLE: {**versions, **digest}}  # a file cut at either end keeps one
        return tomli_w.dumps(values)

    def differences(self, other: Recipe) -> tuple[str, ...]:
        """Name the settings in which two recipes differ and on which the result depends."""
        compared = [field.name for field in dataclasses.fields(self) if not field.metadata["may_change"]]
        pairs = ((name, getattr(self, name), getattr(other, name)) for name in compared)
        return tuple(pair[0] for pair in pairs if pair[1] != pair[2] and pair not in LEFT_OPEN)


def read_settings(path: Path | str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Read the settings that a TOML file gives, with others in their place; see :meth:`Recipe.from_toml`.

    Raises:
        RecipeError: if the file cannot be read or is not TOML, or two names give a setting different values.
    """
    values = _content(path)
    for note in (VERSIONS_TABLE, DIGEST):
        values.pop(note, None)
    try:
        return _overridden(translated(values), translated(overrides or {}))
    except RecipeError as error:
        raise RecipeError(str(error), where=str(path)) from error


def check_recipe_digest(path: Path | str) -> None:
    """Refuse the recipe of a run that is not what was written with it: what is said of its result would be another's.

    Raises:
        RecipeError: if the file cannot be read or is not TOML.
        CheckpointError: if it was changed.
    """
    values = _content(path)
    notes = values.pop(VERSIONS_TABLE, None)
    said = {values.pop(DIGEST, None), notes.get(DIGEST) if isinstance(notes, Mapping) else None}
    digest = {DIGEST: said.pop() if len(said) == 1 else ""} if said != {None} else {}
    check_digest({**_sorted(values), **digest}, str(path), ours=notes is not None)


def _sorted(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings by name: TOML puts tables behind all other values."""
    return dict(sorted(values.items()))


def _content(path: Path | str) -> dict[str, Any]:
    try:
        text = path_of(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        remedy = names_beside(path_of(path)) if isinstance(error, FileNotFoundError) else None
        raise RecipeError("cannot read the recipe", where=str(path), found=said_by(error), remedy=remedy) from error
    try:
        return parsed_toml(text)
    except ValueError as error:
        raise RecipeError("not a TOML file", where=str(path), found=str(error)) from error


def _overridden(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe's values with others in their place; weights come from the one source that was named last."""
    kept = dict(values)
    if overrides.get("checkpoint") is not None and "pretrained" not in overrides:
        kept.pop("pretrained", None)
    if overrides.get("pretrained") and "checkpoint" not in overrides:
        for name in ("checkpoint", "reset_classifier"):
            kept.pop(name, None)
    joined = {
        name: {**kept[name], **overrides[name]}
        for name, owner in _TABLES.items()
        if owner not in overrides and all(isinstance(given.get(name), Mapping) for given in (kept, overrides))
    }
    return {**kept, **overrides, **joined}
