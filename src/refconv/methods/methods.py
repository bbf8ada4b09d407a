"""Methods: what is done to a pretrained model before the loop trains it.

The loop, the recipe, the order of the data and the seeds are the same for all of them. Every kernel transformation is a
method under its own name; another method is one class and one line of :data:`METHODS`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol

from torch import nn

from refconv.config import FIELDS, RefocusConfig
from refconv.errors import RecipeError, SettingError
from refconv.methods.norm_fold import keep_statistics
from refconv.methods.sizes import check_budget, within_budget
from refconv.parametrizations import TRANSFORMS, config_of
from refconv.recipe.recipe import Recipe
from refconv.recipe.settings import did_you_mean
from refconv.recipe.spaces import space_of
from refconv.surgery import Plan, plan, reparametrize


class Method(Protocol):
    """Prepares a model for training; :func:`refconv.surgery.plain_state_dict` takes the plain result out of it.

    Attributes:
        inherits: whether it starts from the weights that the recipe names; else from new ones.
    """

    inherits: bool

    def check(self, recipe: Recipe) -> None:
        """Check the recipe's ``method_kwargs``.

        Args:
            recipe: the settings.

        Raises:
            RecipeError: if the method has no such setting, or a value is out of its range.
        """

    def prepare(self, model: nn.Module, recipe: Recipe) -> Plan | None:
        """Prepare a plain model in place, on its device and with its weights loaded.

        Args:
            model: the model.
            recipe: the settings.

        Returns:
            The plan that was carried out, if the method changes kernels.
        """


class _WithoutSettings:
    """What methods share whose settings all are fields of the recipe."""

    inherits = True

    def check(self, recipe: Recipe) -> None:
        """Refuse ``method_kwargs``, and a budget where nothing has a size.

        Raises:
            RecipeError: if there is either.
        """
        for name in recipe.method_kwargs:
            raise RecipeError(f"{recipe.method} has no such setting", where=f"method_kwargs.{name}")
        check_budget(recipe)


class Plain(_WithoutSettings):
    """Ordinary training, or ordinary further training: the rival with the same budget."""

    def prepare(self, model: nn.Module, recipe: Recipe) -> None:
        """Leave the model as it is."""


class Scratch(Plain):
    """Ordinary training of weights that are started anew from the recipe's seed, whatever weights it names."""

    inherits = False


class NormFold(_WithoutSettings):
    """Training with batch norms folded into fixed scales and shifts; see :mod:`refconv.methods.norm_fold`."""

    def prepare(self, model: nn.Module, recipe: Recipe) -> None:
        """Let batch norms use and keep their running statistics."""
        keep_statistics(model)


class Transformed:
    """Training of the kernels through refocusing or another transformation.

    The settings of refocusing are fields of the recipe, also where another transformation has them too, such as the
    map size of ``shuffled``; all others are ``method_kwargs``. Refocusing in gradient space leaves the model as it is:
    there the optimizer does it.

    Args:
        name: the transformation.
    """

    inherits = True

    def __init__(self, name: str) -> None:
        self.name = name

    def check(self, recipe: Recipe) -> None:
        """Check the settings by name and range.

        Raises:
            RecipeError: if one is unknown, has a field of its own, or is out of its range.
        """
        own = self._settings(recipe)
        for name in recipe.method_kwargs:
            if name in own:
                raise RecipeError(
                    "is a field of the recipe", where=f"method_kwargs.{name}", remedy=f"give {FIELDS[name]} on its own"
                )
        try:
            config_of(self.name, {**own, **recipe.method_kwargs})
        except SettingError as error:
            name = str(error.where)
            raise RecipeError(
                error.what,
                where=FIELDS[name] if name in own else f"method_kwargs.{name}",
                expected=error.expected,
                found=error.found,
                remedy=error.remedy,
            ) from error
        check_budget(recipe)

    def prepare(self, model: nn.Module, recipe: Recipe) -> Plan:
        """Put the transformation on the model's kernels, or say what the optimizer will do to them."""
        config = config_of(self.name, {**self._settings(recipe), **recipe.method_kwargs})
        if space_of(recipe) == "gradient":
            return plan(model, config)
        return reparametrize(model, within_budget(model, recipe, config))

    def _settings(self, recipe: Recipe) -> dict[str, Any]:
        """Return those settings of the transformation that are fields of the recipe: those it has from refocusing."""
        own = dataclasses.fields(TRANSFORMS[self.name].config_class)
        shared = {field.name for field in dataclasses.fields(RefocusConfig) if field in own}
        return {name: value for name, value in _stated(recipe).items() if name in shared}


def refocus_config(recipe: Recipe) -> RefocusConfig:
    """Return what a recipe says about refocusing."""
    return RefocusConfig(**_stated(recipe))


def _stated(recipe: Recipe) -> dict[str, Any]:
    """Return the settings of refocusing in a recipe; one tap count stands for all dimensions, no pattern for none."""
    stated = {name: getattr(recipe, field) for name, field in FIELDS.items()}
    if len(recipe.map_size) == 1:
        (stated["map_size"],) = recipe.map_size
    return {name: None if value == () else value for name, value in stated.items()}


METHODS: dict[str, Method] = {
    "plain": Plain(),
    "scratch": Scratch(),
    "norm_fold": NormFold(),
    **{name: Transformed(name) for name in TRANSFORMS},
}
"""Every method by the name that recipes give."""


def method_of(recipe: Recipe) -> Method:
    """Return the method that a recipe names, after checking its settings.

    Raises:
        RecipeError: if there is no such method, or a setting of it is not possible.
    """
    if recipe.method not in METHODS:
        raise RecipeError(
            "unknown method",
            where="method",
            expected=f"one of {', '.join(METHODS)}",
            found=repr(recipe.method),
            remedy=did_you_mean(recipe.method, METHODS),
        )
    method = METHODS[recipe.method]
    method.check(recipe)
    return method
