"""Batch norms that use and keep their running statistics in training too."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from refconv.errors import ModelError

_REMEDY = "use another method, and norm_statistics = batch"


def keep_statistics(model: nn.Module) -> tuple[str, ...]:
    """Let every batch norm use its running statistics in training too, and leave them as they are; return the names."""
    found = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
    if not found:
        raise ModelError("no batch norm whose statistics could be kept", where=type(model).__name__, remedy=_REMEDY)
    for name, module in found.items():
        if module.running_mean is None:
            raise ModelError("the batch norm has no running statistics", where=name, remedy=_REMEDY)
    for module in found.values():
        module.register_forward_pre_hook(_use_running_statistics)
    return tuple(found)


def _use_running_statistics(module: nn.Module, inputs: Any) -> None:
    """Leave training mode; a hook at each forward, because ``model.train()`` sets the mode of every module."""
    if module.training:
        module.training = False
