"""The four methods that the benchmarks compare: what each does to a model, and one training step of it.

All get the same optimizer (SGD, momentum 0.9), the same weight decay on the same kinds of parameters, and the same
layers; they differ in what trains the refocused kernels. Kernel space takes the fused form of SGD, as the library does;
the others take it on request.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Optimizer

import refconv
from as_released import refocus_as_released

LEARNING_RATE = 1e-4  # small: random networks must not diverge under any method; it has no influence on time
MOMENTUM = 0.9
WEIGHT_DECAY = 4e-5

PLAIN, RELEASED, KERNEL, GRADIENT = "plain", "as released", "kernel space", "gradient space"
ON_DISK = "gradient space, bases on disk"


def parameter_groups(model: nn.Module) -> list[dict[str, Any]]:
    """Return trainable parameters in two groups: matrices and kernels, to be decayed, and vectors, not to be."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in trainable if parameter.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [parameter for parameter in trainable if parameter.ndim <= 1], "weight_decay": 0.0},
    ]


def plain(model: nn.Module, fused: bool | None) -> Optimizer:
    """Train all parameters as they are."""
    return SGD(parameter_groups(model), LEARNING_RATE, MOMENTUM, fused=fused)


def as_released(model: nn.Module, fused: bool | None) -> Optimizer:
    """Refocus as the authors' release does."""
    refocus_as_released(model)
    return plain(model, fused)


def kernel_space(model: nn.Module, fused: bool | None) -> Optimizer:
    """Refocus by explicit refocus weights, with torch's fused SGD, as ``refconv train`` takes it."""
    refconv.refocus(model)
    return plain(model, fused=True)


def gradient_space(model: nn.Module, fused: bool | None) -> Optimizer:
    """Refocus by rewriting gradients."""
    groups = refconv.param_groups(model, groups=parameter_groups(model))
    return refconv.RefocusSGD(groups, LEARNING_RATE, MOMENTUM, fused=fused)


def gradient_space_on_disk(model: nn.Module, fused: bool | None) -> Optimizer:
    """Refocus by rewriting gradients, with the bases of dense kernels in mapped files."""
    groups = refconv.param_groups(model, groups=parameter_groups(model))
    return refconv.RefocusSGD(groups, LEARNING_RATE, MOMENTUM, fused=fused, bases="disk")


METHODS: dict[str, Callable[[nn.Module, bool | None], Optimizer]] = {
    PLAIN: plain,
    RELEASED: as_released,
    KERNEL: kernel_space,
    GRADIENT: gradient_space,
}
WAYS = {**METHODS, ON_DISK: gradient_space_on_disk}
"""The methods, and how gradient space saves memory."""


@dataclass
class Contender:
    """A copy of a model under one method, ready to take training steps.

    Attributes:
        model: the copy, in training mode.
        optimizer: its optimizer.
        autocast: dtype of autocast, or None for float32 throughout.
    """

    model: nn.Module
    optimizer: Optimizer
    autocast: torch.dtype | None = None

    @classmethod
    def of(
        cls,
        method: str,
        model: nn.Module,
        *,
        autocast: torch.dtype | None = None,
        compiled: bool = False,
        fused: bool = False,
    ) -> Contender:
        """Put a method on a copy of a model.

        Args:
            method: one of :data:`WAYS`.
            model: the plain model, on its device; left as it is.
            autocast: dtype of autocast, if any.
            compiled: compile the model.
            fused: use torch's fused SGD, instead of what torch would choose.
        """
        own = copy.deepcopy(model).train()
        optimizer = WAYS[method](own, fused or None)
        if compiled:
            own.compile()
        return cls(own, optimizer, autocast)

    def step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Take one whole training step and return its loss."""
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(images.device.type, self.autocast, enabled=self.autocast is not None):
            loss = F.cross_entropy(self.model(images), labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach()
