"""timm's optimizers and parameter groups, made as the recipe says."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from timm.optim import create_optimizer_v2, list_optimizers, param_groups_layer_decay, param_groups_weight_decay
from torch import nn
from torch.optim import Optimizer

from refconv.errors import RecipeError, RefconvError, did_you_mean
from refconv.recipe.recipe import LOOKAHEAD, Recipe


def make_optimizer(model: nn.Module, recipe: Recipe, *, exempt: Collection[str] = ()) -> Optimizer:
    """Return timm's optimizer of everything trainable in a model.

    timm does not decay biases and one-dimensional parameters, unless ``filter_bias_and_bn`` is off.
    """
    with checked(model, recipe):
        optimizer = create_optimizer_v2(
            parameter_groups(model, recipe, exempt) if exempt else model,
            opt=recipe.opt,
            lr=recipe.lr,
            weight_decay=recipe.weight_decay,
            momentum=recipe.momentum,
            filter_bias_and_bn=recipe.filter_bias_and_bn,
            layer_decay=recipe.layer_decay,
            **recipe.opt_kwargs,
        )
    assert isinstance(optimizer, Optimizer)
    if getattr(optimizer, "is_second_order", False):
        # AdaHessian draws from a generator of its own, so its runs could not be resumed exactly either.
        raise RecipeError(f"{recipe.opt} needs second derivatives, which the loop does not compute", where="opt")
    return optimizer


@contextmanager
def checked(model: nn.Module, recipe: Recipe) -> Iterator[None]:
    """Make an optimizer within the block, with errors that name the setting of the recipe."""
    if recipe.opt.lower().removeprefix(LOOKAHEAD) not in list_optimizers():
        raise RecipeError(
            "unknown optimizer",
            where="opt",
            expected="a name of timm's",
            found=repr(recipe.opt),
            remedy=did_you_mean(recipe.opt, list_optimizers()),
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise RecipeError("nothing to train: the model has no trainable parameter", where="model")
    try:
        yield
    except RefconvError:  # of a kernel or a setting, with its own words
        raise
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(f"{recipe.opt} does not take these settings", where="opt", found=str(error)) from error


def parameter_groups(model: nn.Module, recipe: Recipe, exempt: Collection[str] = ()) -> list[dict[str, Any]]:
    """Return the parameter groups that timm makes of a model."""
    listed = getattr(model, "no_weight_decay", None)
    names = {*exempt, *(listed() if callable(listed) else ())}
    if recipe.layer_decay is not None:
        found = param_groups_layer_decay(
            model, recipe.weight_decay, layer_decay=recipe.layer_decay, no_weight_decay_list=names
        )
    elif recipe.filter_bias_and_bn:
        found = param_groups_weight_decay(model, recipe.weight_decay, no_weight_decay_list=names)
    else:
        trainable = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        found = [
            {"params": [p for name, p in trainable if name in exempt], "weight_decay": 0.0},
            {"params": [p for name, p in trainable if name not in exempt], "weight_decay": recipe.weight_decay},
        ]
    return [group for group in found if group["params"]]


def inner_optimizer(optimizer: Optimizer) -> Optimizer:
    """Return the optimizer that timm's Lookahead wraps, or the optimizer itself."""
    inner: Optimizer = getattr(optimizer, "_base_optimizer", optimizer)
    return inner
