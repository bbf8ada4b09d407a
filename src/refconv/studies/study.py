"""A study: what is compared with what, and the recipe of each of its runs; how it is read, reading.py says.

This module imports neither torch nor timm.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from typing import Any

from refconv.recipe.recipe import RATE_FROM_SCRATCH, Recipe

WEIGHTS = ("checkpoint", "pretrained", "reset_classifier")
"""Settings of a base whose weights are given."""

LONG = 10**6
"""Epochs of recipes that are only checked: how many there are is known with the data."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Base:
    """Where the continuations of an architecture start.

    Attributes:
        samples: training samples seen by a base that is trained here; None where weights are given.
        settings: what its recipe has beside that of the study.
        backbones: folder of a study of classifiers; every method starts its backbone from what the method of the same
            name left there, for the same architecture and seed.
    """

    samples: int | None
    settings: Mapping[str, Any]
    backbones: str | None = None

    @property
    def given(self) -> bool:
        """Whether the weights are given, instead of trained here."""
        return self.samples is None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Architecture:
    """One model of the study.

    Attributes:
        name: its name in the study.
        samples: training samples that every continuation sees.
        base: its base.
        settings: its recipe.
    """

    name: str
    samples: int
    base: Base
    settings: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Method:
    """One contender.

    Attributes:
        name: its name in the study.
        from_base: whether it goes on from the base; if not it starts anew and gets the base's samples as well.
        settings: its settings, ``method`` among them.
        grid: per setting, the values to choose from; several settings are combined in every way.
    """

    name: str
    from_base: bool
    settings: Mapping[str, Any]
    grid: Mapping[str, tuple[Any, ...]]

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
        methods: the contenders.
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

    def base_recipe(self, architecture: Architecture, *, seed: int = 0, epochs: int = LONG) -> Recipe:
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
        epochs: int = LONG,
        base: str | None = None,
        backbone: str | None = None,
        test: bool = False,
    ) -> Recipe:
        """Return the recipe of a selection or final run.

        Args:
            architecture: the model.
            method: the contender.
            point: values of the settings in the method's grid.
            seed: the run's seed.
            epochs: how long it trains.
            base: the base's weights, if it was trained here.
            backbone: the classifier that the backbone starts from, if it comes from another study.
            test: whether it reads the test split.
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
