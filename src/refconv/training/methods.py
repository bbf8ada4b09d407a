"""Methods: what is done to a pretrained model before the loop trains it.

The loop, the recipe, the order of the data and the seeds are the same for all of them. A new method is one class and
one line of :data:`METHODS`.
"""

from __future__ import annotations

from typing import Any, Protocol

from torch import nn

from refconv.errors import RecipeError
from refconv.surgery import Plan, plan, refocus
from refconv.training.recipe import Recipe
from refconv.training.settings import did_you_mean
from refconv.training.spaces import space_of


class Method(Protocol):
    """Prepares a model for training; :func:`refconv.surgery.plain_state_dict` takes the plain result out of it."""

    def prepare(self, model: nn.Module, recipe: Recipe) -> Plan | None:
        """Prepare a plain model in place, on its device and with its weights loaded.

        Args:
            model: the model.
            recipe: the settings.

        Returns:
            The plan that was carried out, if the method changes kernels.
        """


class Plain:
    """Ordinary training, or ordinary further training: the rival with the same budget."""

    def prepare(self, model: nn.Module, recipe: Recipe) -> None:
        """Leave the model as it is."""


class Refocus:
    """Refocused training: in kernel space with explicit refocus weights, in gradient space with none."""

    def prepare(self, model: nn.Module, recipe: Recipe) -> Plan:
        """Refocus the model's kernels as the recipe says; in gradient space, the optimizer does it instead."""
        prepare = plan if space_of(recipe) == "gradient" else refocus
        return prepare(model, **refocus_settings(recipe))


def refocus_settings(recipe: Recipe) -> dict[str, Any]:
    """Return what a recipe says about refocusing, as :func:`refconv.refocus` and ``param_groups`` take it."""
    return {
        "map_size": recipe.map_size[0] if len(recipe.map_size) == 1 else recipe.map_size,
        "order": recipe.order,
        "start": recipe.start,
        "normalize": recipe.normalize,
        "power": recipe.power,
        "include": list(recipe.include) or None,
        "exclude": list(recipe.exclude) or None,
    }


METHODS: dict[str, type[Method]] = {
    "plain": Plain,
    "refocus": Refocus,
}


def method_of(recipe: Recipe) -> Method:
    """Return the method that a recipe names.

    Raises:
        RecipeError: if there is no such method.
    """
    if recipe.method not in METHODS:
        raise RecipeError(
            "unknown method",
            where="method",
            expected=" or ".join(METHODS),
            found=repr(recipe.method),
            remedy=did_you_mean(recipe.method, METHODS),
        )
    return METHODS[recipe.method]()
