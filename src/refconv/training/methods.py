"""Methods: what is done to a pretrained model before the loop trains it.

The loop, the recipe, the order of the data and the seeds are the same for all of them. A new method is one class and
one line of :data:`METHODS`.
"""

from __future__ import annotations

from typing import Protocol, cast

from torch import nn

from refconv.errors import RecipeError
from refconv.ops import Order
from refconv.parametrizations import Start
from refconv.surgery import Plan, refocus
from refconv.training.recipe import Recipe
from refconv.training.settings import did_you_mean


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
    """Refocused training in kernel space, with explicit refocus weights."""

    def prepare(self, model: nn.Module, recipe: Recipe) -> Plan:
        """Refocus the model's kernels as the recipe says."""
        return refocus(
            model,
            map_size=recipe.map_size[0] if len(recipe.map_size) == 1 else recipe.map_size,
            order=cast("Order", recipe.order),
            start=cast("Start", recipe.start),
            normalize=recipe.normalize,
            power=recipe.power,
            include=list(recipe.include) or None,
            exclude=list(recipe.exclude) or None,
        )


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
