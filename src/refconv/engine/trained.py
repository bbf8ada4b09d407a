"""Which parameters train: everything, or only the kernels that are refocused, with norms or head if wanted.

The choice is the same for every method: where a plain network trains beside a refocused one, the kernels at the same
layers train. Statistics of batch norms are not parameters and are updated in any case.
"""

from __future__ import annotations

from collections.abc import Iterable

from timm.layers import RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from refconv.errors import RecipeError
from refconv.methods.method import kernel_names
from refconv.recipe.recipe import Recipe
from refconv.surgery import Plan, plan
from refconv.tasks.task import Task

_NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, RmsNorm, RmsNorm2d, SimpleNorm, SimpleNorm2d)


def freeze_others(model: nn.Module, recipe: Recipe, done: Plan | None, task: Task) -> tuple[str, ...]:
    """Keep the parameters of a prepared model from training that the recipe's ``train`` leaves out; return their names.

    The kernels are those that the plan ``done`` changed or, where the method changes none, would be refocused.

    Raises:
        RecipeError: if no kernel would train, or the model has none of the parameters that are to train.
    """
    if recipe.train == "all":
        return ()
    parts, kept = recipe.train.split("+"), set[str]()
    if "refocus" in parts:
        done = done or plan(model, include=list(recipe.include) or None, exclude=list(recipe.exclude) or None)
        kept |= kernel_names(model, [row.layer for row in done.refocused])
        if not any(parameter.requires_grad for name, parameter in model.named_parameters() if name in kept):
            raise RecipeError("no kernel of this model is chosen to train", where="train", remedy="include and exclude")
    if "norm" in parts:
        kept |= norm_names(model)
    if "head" in parts:
        kept |= task.head_names(model)
    if not any(name in kept for name, _ in model.named_parameters()):
        raise RecipeError("the model has no such parameters", where="train", found=repr(recipe.train))
    frozen = tuple(name for name, p in model.named_parameters() if p.requires_grad and name not in kept)
    for name, parameter in model.named_parameters():
        if name in frozen:
            parameter.requires_grad_(False)
    return frozen


def thaw(model: nn.Module, names: Iterable[str]) -> None:
    """Let parameters require gradients again, in a model or in its average."""
    parameters = dict(model.named_parameters())
    for name in names:
        parameters[name].requires_grad_(True)


def norm_names(model: nn.Module) -> set[str]:
    """Return the names of the scales and shifts of a model's normalisations."""
    return {
        f"{name}.{own}"
        for name, module in model.named_modules()
        if isinstance(module, _NORMS)
        for own, _ in module.named_parameters(recurse=False)
    }
