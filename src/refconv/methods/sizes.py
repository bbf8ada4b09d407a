"""Sizes by budget: a method is given the size with which it trains about as many numbers as a recipe allows."""

from __future__ import annotations

import dataclasses

from torch import nn

from refconv.config import TransformConfig
from refconv.errors import RecipeError, did_you_mean
from refconv.parametrizations import TRANSFORMS
from refconv.recipe.recipe import Recipe
from refconv.surgery import fit_budget, plan_of


def check_budget(recipe: Recipe) -> None:
    """Check that a recipe's budget, if it has one, decides something."""
    if recipe.budget is None:
        return
    kind = TRANSFORMS.get(recipe.method)
    if kind is None or kind.size is None:
        sized = ", ".join(name for name, other in TRANSFORMS.items() if other.size is not None)
        raise RecipeError(f"{recipe.method} has no size to choose", where="budget", expected=f"one of {sized}")
    if kind.size in recipe.method_kwargs or (kind.size == "map_size" and recipe.map_size != (3,)):
        raise RecipeError("is set by the budget", where=kind.size, remedy="leave one of them out")
    if not (recipe.budget.isdecimal() and int(recipe.budget)) and recipe.budget not in TRANSFORMS:
        raise RecipeError(
            "neither a number nor a method that changes kernels",
            where="budget",
            found=repr(recipe.budget),
            remedy=did_you_mean(recipe.budget, TRANSFORMS),
        )


def within_budget(model: nn.Module, recipe: Recipe, config: TransformConfig) -> TransformConfig:
    """Return a method's configuration with the size that comes closest to the recipe's budget, if it has one."""
    wanted = parameters_allowed(model, recipe)
    return config if wanted is None else dataclasses.replace(config, **fit_budget(model, config, wanted).settings)


def parameters_allowed(model: nn.Module, recipe: Recipe) -> int | None:
    """Return how many numbers a recipe's budget lets its method train; None without one.

    A method named as the budget stands for what it trains on the same layers with its defaults.
    """
    if recipe.budget is None:
        return None
    if recipe.budget.isdecimal():
        return int(recipe.budget)
    selection = {"include": recipe.include or None, "exclude": recipe.exclude or None}
    return plan_of(model, recipe.budget, **selection).extra_parameters
