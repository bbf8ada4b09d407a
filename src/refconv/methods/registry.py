"""The methods by name. Every kernel transformation is a method; another method is one class and one line here."""

from __future__ import annotations

from collections.abc import Callable

from refconv.errors import RecipeError, did_you_mean
from refconv.methods.method import Method, Plain, Scratch
from refconv.methods.norm_fold import NormFold
from refconv.methods.transformed import Transformed, refocusing
from refconv.parametrizations import TRANSFORMS
from refconv.recipe.recipe import Recipe

METHODS: dict[str, Callable[[Recipe], Method]] = {
    "plain": Plain,
    "scratch": Scratch,
    "norm_fold": NormFold,
    **dict.fromkeys(TRANSFORMS, Transformed),
    "refocus": refocusing,
}
"""Every method by the name that recipes give."""


def method_of(recipe: Recipe) -> Method:
    """Return the method that a recipe names, with the recipe's settings checked."""
    if recipe.method not in METHODS:
        expected, remedy = f"one of {', '.join(METHODS)}", did_you_mean(recipe.method, METHODS)
        raise RecipeError("unknown method", where="method", expected=expected, found=repr(recipe.method), remedy=remedy)
    return METHODS[recipe.method](recipe)
