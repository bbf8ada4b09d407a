"""A study: what is compared with what, and the recipe of each of its runs; without torch and timm."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from refconv.errors import RecipeError, StudyError
from refconv.recipe.recipe import Recipe
from refconv.recipe.rules import RATE_FROM_SCRATCH

WEIGHTS = ("checkpoint", "pretrained", "reset_classifier")  # settings of a base whose weights are given
_LONG = 10**6  # epochs of recipes that are only checked: how many there are is known with the data


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """Where the continuations of an architecture start."""

    samples: int | None  # training samples seen by a base that is trained here; None where weights are given
    settings: Mapping[str, Any]  # of its recipe, beside those of the study
    backbones: str | None = None  # folder of a study of classifiers: a method starts from that of its name and seed

    @property
    def given(self) -> bool:
        """Whether the weights are given, instead of trained here."""
        return self.samples is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """One model of the study."""

    name: str
    samples: int  # training samples that every continuation sees
    base: Base
    settings: Mapping[str, Any]  # of its recipe


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """One method of the study. Without ``from_base`` it starts anew and gets the base's samples as well."""

    name: str
    from_base: bool
    settings: Mapping[str, Any]  # ``method`` among them
    grid: Mapping[str, tuple[Any, ...]]  # per setting, the values to choose from; several are combined in every way

    @property
    def points(self) -> tuple[dict[str, Any], ...]:
        """Every combination of the grid's values; one, perhaps empty, if there is nothing to choose."""
        return tuple(dict(zip(self.grid, values, strict=True)) for values in itertools.product(*self.grid.values()))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """A study whose settings are possible, as far as that can be said without the data.

    Attributes:
        name: its name.
        description: what it asks.
        seeds: of the final runs.
        selection_seeds: of the runs that choose settings; none of them is a final seed, so that no run helps to
            choose its own settings.
        select_by: the measure on the validation split that chooses.
        reference: the method that the others are compared with.
        val_split: share of the training data that chooses. Neither bases nor continuations train on it, in selection
            and in final runs alike.
        keep: what stays of finished runs beside records, metrics and bases: nothing, the final models, or all.
        architectures: the models.
        methods: the methods.
        text: the TOML text.
    """

    name: str
    description: str
    seeds: tuple[int, ...]
    selection_seeds: tuple[int, ...]
    select_by: str
    reference: str
    val_split: float
    keep: str
    architectures: tuple[Architecture, ...]
    methods: tuple[Method, ...]
    text: str

    def base_recipe(self, architecture: Architecture, *, seed: int = 0, epochs: int = _LONG) -> Recipe:
        """Return the recipe of a base."""
        settings = {**architecture.settings, **architecture.base.settings}
        return self._recipe(settings, method="plain", seed=seed, epochs=epochs, test=False)

    def recipe(
        self,
        architecture: Architecture,
        method: Method,
        point: Mapping[str, Any],
        *,
        seed: int = 0,
        epochs: int = _LONG,
        base: str | None = None,
        backbone: str | None = None,
        test: bool = False,
    ) -> Recipe:
        """Return the recipe of a selection or final run with the values ``point`` of the settings in a method's grid.

        ``base`` holds the base's weights, if it was trained here, and ``backbone`` the classifier that the backbone
        starts from, if it comes from another study. ``test`` says whether the test split is read.
        """
        settings = dict(architecture.settings)
        for layer in (method.settings, point):
            for name, value in layer.items():  # tables, such as method_kwargs, are joined
                settings[name] = {**settings.get(name, {}), **value} if isinstance(value, Mapping) else value
        if method.from_base:
            given = {name: architecture.base.settings[name] for name in WEIGHTS if name in architecture.base.settings}
            settings.update(given if base is None else {"checkpoint": base})
            settings.update({} if backbone is None else {"backbone_checkpoint": backbone})
        return self._recipe(settings, seed=seed, epochs=epochs, test=test)

    def _recipe(self, settings: Mapping[str, Any], **own: Any) -> Recipe:
        # A study says its rates: a default that depends on the weights would give its methods different ones.
        return Recipe.from_mapping({"lr": RATE_FROM_SCRATCH, **settings, "val_split": self.val_split, **own})


@contextmanager
def recipe_errors_in(where: str) -> Iterator[None]:
    """Turn the error of an impossible recipe into one that says where in the study it comes from."""
    try:
        yield
    except RecipeError as error:
        raise StudyError(str(error), where=where) from error
