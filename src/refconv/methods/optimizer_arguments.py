"""The further arguments of an optimizer, ``opt_kwargs``, checked before a run begins: many of timm's take anything."""

from __future__ import annotations

import inspect
import math
import types
from collections.abc import Callable
from typing import Any

import torch
from timm.optim import get_optimizer_class
from torch import nn
from torch.optim import Optimizer

from refconv.errors import RecipeError, in_one_line
from refconv.recipe.recipe import Recipe
from refconv.recipe.rules import LOOKAHEAD
from refconv.recipe.settings import coerced


def check_kinds(recipe: Recipe) -> None:
    """Check numbers, and lists of numbers, against the defaults of the optimizer's arguments; None passes."""
    signature = inspect.signature(get_optimizer_class(recipe.opt.lower().removeprefix(LOOKAHEAD), bind_defaults=False))
    for name, value in recipe.opt_kwargs.items():
        default = signature.parameters[name].default if name in signature.parameters else None
        if value is None or (hint := _hint(default)) is None:
            continue
        where = f"opt_kwargs.{name}"
        found = coerced(where, hint, value)
        if not all(map(math.isfinite, found if isinstance(found, tuple) else (found,))):
            raise RecipeError("not a finite number", where=where, found=repr(value))


def _hint(default: Any) -> Any:
    """Return the type of an argument with this default, for numbers and tuples of them; None for others."""
    if isinstance(default, (tuple, list)) and default and all(isinstance(one, float) for one in default):
        return types.GenericAlias(tuple, (float,) * len(default))
    return bool if isinstance(default, bool) else float if isinstance(default, (int, float)) else None


def try_out(make: Callable[[nn.Module], Optimizer], model: nn.Module, recipe: Recipe) -> None:
    """Let an optimizer with the recipe's further arguments take two steps on a small module of ones.

    Most optimizers use them only there, and say of a wrong one whatever comes. No random number of the run is drawn.
    """
    first = next(parameter for parameter in model.parameters() if parameter.requires_grad)
    with torch.device("meta"):
        small = nn.Sequential(nn.Conv2d(8, 8, 3), nn.Linear(8, 8))  # for Muon smaller ones are no matrices
    small.to_empty(device=first.device)
    for parameter in small.parameters():
        nn.init.ones_(parameter)
    with (
        torch.random.fork_rng(devices=[]),
        in_one_line(RecipeError, f"{recipe.opt} does not take this", where="opt_kwargs"),
    ):
        optimizer = make(small)
        for _ in range(2):
            for parameter in small.parameters():
                parameter.grad = torch.full_like(parameter, 0.1)
            optimizer.step()
