"""Norm fold: batch norms that use and keep their running statistics, as if folded into the convolutions.

Source: Efficient ConvBN Blocks for Transfer Learning and Beyond, arXiv 2305.11624, the Tune mode.

Note [What is equal]: Tune mode computes, for a convolution of weight w and bias b before a norm of scale g and shift h,

    conv(x, w g / s) + (b - mean) g / s + h,    s = sqrt(variance + epsilon)

with w, b, g and h trained and the running mean and variance fixed. A convolution is linear in its weight, so this is
the same function of (x, w, b, g, h) as the convolution followed by the norm in evaluation mode: outputs and all
gradients are equal up to rounding, and so is every step of training. The paper folds to save time and memory. Here
the norms are put in evaluation mode and nothing is folded: accuracies compare as there, step times do not, and
modules, keys and merging stay as they are without matching convolutions with norms.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from refconv.errors import ModelError
from refconv.methods.method import Method


class NormFold(Method):
    """Training with batch norms that use and keep their running statistics."""

    def prepare(self, model: nn.Module) -> None:
        """Let the batch norms of a model be so."""
        keep_statistics(model)


def keep_statistics(model: nn.Module) -> tuple[str, ...]:
    """Let every batch norm use its running statistics in training too, and leave them as they are; return the names.

    Scales and shifts are still trained, and ``model.train()`` still puts everything else in training mode.
    """
    found = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    if not found:
        raise ModelError("no batch norm to fold", where=type(model).__name__, remedy="use another method")
    for name, module in found.items():
        if module.running_mean is None:
            raise ModelError("the batch norm has no running statistics", where=name, remedy="use another method")
    for module in found.values():
        module.register_forward_pre_hook(_use_running_statistics)
    return tuple(found)


def _use_running_statistics(module: nn.Module, inputs: Any) -> None:
    """Leave training mode; a hook at each forward, because ``model.train()`` sets the mode of every module."""
    if module.training:
        module.training = False
