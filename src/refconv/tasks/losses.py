"""Losses by name: those of a task, and the user's own by ``module:function``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.data.own import imported
from refconv.data.targets import known
from refconv.errors import ModelError, RecipeError, did_you_mean, lacks_memory
from refconv.recipe.recipe import Recipe

Loss = Callable[[Tensor, Tensor], Tensor]  #: Of outputs in float32 and targets; the mean over what counts


def chosen_loss(recipe: Recipe, losses: Mapping[str, Callable[..., Loss]], device: torch.device) -> Loss:
    """Return the loss that a recipe names, made with its ``loss_kwargs``: one of ``losses``, by default the first.

    ``module:function`` names a function of outputs and targets, or a class or function that makes one.
    """
    name = recipe.loss or next(iter(losses))
    if name in losses:
        return _on(device, _made(losses[name], recipe.loss_kwargs, name))
    if ":" not in name:
        expected, remedy = f"{', '.join(losses)} or module:function", did_you_mean(name, losses)
        raise RecipeError("unknown loss", where="loss", expected=expected, found=repr(name), remedy=remedy)
    try:
        found = imported(name)
    except Exception as error:  # foreign code may raise anything
        what, expected = "cannot import the loss", "a function of outputs and targets, or a class that makes one"
        cause = f"{type(error).__name__}: {error}"
        raise RecipeError(what, where=f"loss {name}", expected=expected, found=cause) from error
    if not callable(found):
        raise RecipeError(
            "not a loss", where=f"loss {name}", expected="a function or class", found=type(found).__name__
        )
    return _on(device, _Own(found if _takes_two(found) else _made(found, recipe.loss_kwargs, name), recipe, name))


def class_weights(recipe: Recipe) -> Tensor | None:
    """Return the weights [classes] by whose sum over the targets torch's cross-entropy divides; None without any."""
    weights = recipe.loss_kwargs.get("weight") if recipe.loss == "cross_entropy" else None
    return None if weights is None else torch.tensor(weights, dtype=torch.float64)


def _on(device: torch.device, loss: Loss) -> Loss:
    return loss.to(device) if isinstance(loss, nn.Module) else loss


class _Own(nn.Module):
    """A loss of the user's; what it raises, or returns instead of a number, is said in one line."""

    def __init__(self, loss: Callable[..., Any], recipe: Recipe, name: str) -> None:
        super().__init__()
        self.loss, self.name = loss, name
        self.settings = recipe.loss_kwargs if _takes_two(loss) and not isinstance(loss, nn.Module) else {}

    def forward(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss."""
        shapes = f"outputs {list(outputs.shape)} {outputs.dtype} and targets {list(targets.shape)} {targets.dtype}"
        try:
            found = self.loss(outputs, targets, **self.settings)
        except Exception as error:
            if lacks_memory(error):
                raise
            cause = f"{type(error).__name__}: {error}"
            expected = f"a loss of {shapes}"
            raise ModelError("the loss fails", where=f"loss {self.name}", expected=expected, found=cause) from error
        if not isinstance(found, Tensor) or found.numel() != 1 or not found.is_floating_point():
            expected = "one number, the mean over the samples"
            shown = f"a tensor {list(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ModelError("the loss is no number", where=f"loss {self.name}", expected=expected, found=shown)
        return found.reshape(())


def _takes_two(function: Any) -> bool:
    """Say whether a function can be called with outputs and targets; a class makes a loss."""
    if isinstance(function, type):
        return False
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):
        return isinstance(function, nn.Module)
    return True


def _made(builder: Callable[..., Any], settings: Mapping[str, Any], name: str) -> Loss:
    if getattr(builder, "__module__", "").startswith("torch."):  # its losses take weights of classes as tensors
        settings = {
            key: torch.tensor(value, dtype=torch.float32) if isinstance(value, list) else value
            for key, value in settings.items()
        }
    try:
        made = builder(**settings)
    except Exception as error:  # foreign code, and settings that it does not take
        given = ", ".join(settings) or "no settings"
        remedy = "give settings by --loss-kwargs NAME=VALUE, or none"
        cause = f"{type(error).__name__}: {error}"
        what = f"{name} does not take {given}"
        raise RecipeError(what, where="loss_kwargs", found=cause, remedy=remedy) from error
    if not callable(made):
        expected = "a function of outputs and targets"
        raise RecipeError("not a loss", where=f"loss {name}", expected=expected, found=type(made).__name__)
    loss: Loss = made
    return loss


def over_known(entries: Callable[[Tensor, Tensor], Tensor]) -> Loss:
    """Return the mean of a loss of single entries over the targets that are known; 0 where none is."""

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        counted = known(targets)
        # An unknown target is replaced before the loss: the gradient of NaN times 0 is NaN.
        each = entries(outputs, targets.nan_to_num(0.0)) * counted
        return each.sum() / counted.sum().clamp(min=1)

    return loss


def bce(pos_weight: float | list[float] | None = None) -> Loss:
    """Return the binary cross-entropy of logits and labels.

    ``pos_weight``, one number or one for each label, multiplies the term of labels that are there.
    """

    def entries(outputs: Tensor, labels: Tensor) -> Tensor:
        weight = None if pos_weight is None else torch.as_tensor(pos_weight, dtype=outputs.dtype, device=outputs.device)
        return F.binary_cross_entropy_with_logits(outputs, labels, reduction="none", pos_weight=weight)

    return over_known(entries)


def asymmetric(gamma_neg: float = 4.0, gamma_pos: float = 1.0, clip: float = 0.05) -> Loss:
    """Return the asymmetric loss (Ridnik et al. 2021, arXiv 2009.14119, equations 4 to 6), the mean over the entries.

    With p the probability of a label and q = max(p - clip, 0): -(1 - p)^gamma_pos log p for a label that is there,
    -q^gamma_neg log(1 - q) for one that is not.
    """

    def entries(outputs: Tensor, labels: Tensor) -> Tensor:
        p = outputs.sigmoid()
        q = (p - clip).clamp(min=0)
        there = (1 - p) ** gamma_pos * F.logsigmoid(outputs)
        away = q**gamma_neg * (1 - q).clamp(min=1e-8).log()
        return -torch.where(labels > 0.5, there, away)

    return over_known(entries)


def l1() -> Loss:
    """Return the mean absolute difference."""
    return over_known(lambda outputs, values: (outputs - values).abs())


def l2() -> Loss:
    """Return the mean squared difference."""
    return over_known(lambda outputs, values: (outputs - values).square())


def huber(delta: float = 1.0) -> Loss:
    """Return Huber's loss, quadratic up to ``delta`` and linear beyond."""
    return over_known(lambda outputs, values: F.huber_loss(outputs, values, reduction="none", delta=delta))
