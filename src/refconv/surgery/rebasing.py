"""A new round: the kernels as they are now become the bases."""

from __future__ import annotations

import torch
from torch import nn

from refconv.surgery.attach import base_of, kernel_of, transformed


@torch.no_grad()
def rebase(model: nn.Module) -> list[nn.Parameter]:
    """Make every refocused kernel its own base and let its transformation start anew, in place.

    The model computes what it did before, and its parameters stay the ones that an optimizer knows. What the optimizer
    remembers of them belongs to the former bases and is to be dropped.

    Args:
        model: a refocused model.

    Returns:
        The parameters that started anew.
    """
    found = list(transformed(model))
    kernels = {id(transform): kernel_of(module) for _, module, transform in found}
    fresh: dict[int, nn.Parameter] = {}
    for _, module, transform in found:
        base = base_of(module)
        base.copy_(kernels[id(transform)])
        transform.follow(base)
        transform.reset(base)
        fresh.update((id(parameter), parameter) for parameter in transform.parameters())
    return list(fresh.values())
