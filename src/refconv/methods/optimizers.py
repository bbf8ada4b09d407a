"""timm's optimizers and parameter groups, made as the recipe says."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from timm.optim import create_optimizer_v2, list_optimizers, param_groups_layer_decay, param_groups_weight_decay
from torch import nn
from torch.optim import Optimizer

from refconv.errors import RecipeError, RefconvError, did_you_mean
from refconv.layers import find_layers
from refconv.recipe.recipe import LOOKAHEAD, Recipe


def make_optimizer(model: nn.Module, recipe: Recipe, *, exempt: Collection[str] = ()) -> Optimizer:
    """Return timm's optimizer of everything trainable in a model.

    timm does not decay biases and one-dimensional parameters, unless ``filter_bias_and_bn`` is off.

    Args:
        model: the model.
        recipe: the settings.
        exempt: names of further parameters that are not decayed.

    Raises:
        RecipeError: if the optimizer is unknown, cannot be used here or does not take an argument, or nothing is
            trainable.
    """
    with checked(model, recipe):
        optimizer = create_optimizer_v2(
            parameter_groups(model, recipe, exempt) if exempt or recipe.kernel_lr_scale != 1 else model,
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
    """Make an optimizer within the block, with errors that name the setting of the recipe.

    Raises:
        RecipeError: if the optimizer is unknown or does not take an argument, or nothing is trainable.
        RefconvError: of a kernel or a setting, as the block raises it.
    """
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
    """Return the parameter groups that timm makes of a model.

    Args:
        model: the model.
        recipe: the settings.
        exempt: names of parameters that are not decayed, beside those that the model names.
    """
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
    if recipe.kernel_lr_scale != 1:
        found = [part for group in found for part in _scaled_kernels(group, model, recipe.kernel_lr_scale)]
    return [group for group in found if group["params"]]


def _scaled_kernels(group: dict[str, Any], model: nn.Module, scale: float) -> list[dict[str, Any]]:
    """Return the kernels of a group, with their learning rate scaled as timm's schedules read it, and the rest."""
    names = kernel_names(model, [layer.name for layer in find_layers(model)])
    kernels = {id(parameter) for name, parameter in model.named_parameters() if name in names}
    scaled = {**group, "lr_scale": scale * group.get("lr_scale", 1.0)}
    return [
        {**scaled, "params": [p for p in group["params"] if id(p) in kernels]},
        {**group, "params": [p for p in group["params"] if id(p) not in kernels]},
    ]


def kernel_names(model: nn.Module, layers: Collection[str]) -> set[str]:
    """Return the names of the parameters that make the kernels of some layers, themselves or through a transformation.

    Args:
        model: the model.
        layers: names of its convolutions.
    """
    prefixes = [f"{layer}." if layer else "" for layer in layers]
    kernels = {f"{prefix}weight" for prefix in prefixes}
    through = tuple(f"{prefix}parametrizations.weight." for prefix in prefixes)
    return {name for name, _ in model.named_parameters() if name in kernels or name.startswith(through)}


def inner_optimizer(optimizer: Optimizer) -> Optimizer:
    """Return the optimizer that timm's Lookahead wraps, or the optimizer itself."""
    inner: Optimizer = getattr(optimizer, "_base_optimizer", optimizer)
    return inner
