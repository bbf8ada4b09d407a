"""Transformations on single convolutions, away from their start: what the tests of all of them share."""

import torch
from torch import nn

from refconv.surgery import reparametrize
from refconv.surgery.refocusing import transform_of, transformed

CONVOLUTIONS = {
    "dense": lambda: nn.Conv2d(4, 6, 3),
    "depthwise": lambda: nn.Conv2d(6, 6, 3, groups=6),
    "multiplied": lambda: nn.Conv2d(4, 8, (3, 2), groups=4),
    "grouped": lambda: nn.Conv2d(8, 12, (1, 4), groups=4),
    "1-D": lambda: nn.Conv1d(4, 8, 5, groups=2),
    "3-D": lambda: nn.Conv3d(2, 4, (2, 3, 3), groups=2),
    "transposed": lambda: nn.ConvTranspose2d(8, 6, 3, groups=2),
    "one slice": lambda: nn.Conv2d(1, 1, 3),
}


def transform_on(name, module, **settings):
    """Put a transformation on a convolution and return it."""
    reparametrize(module, name, **settings)
    return transform_of(module)


def disturb(model, std=0.1):
    """Move every trained number of every transformation by a random amount; return how many there were."""
    found = {id(transform): transform for _, _, transform in transformed(model)}
    parameters = [parameter for transform in found.values() for parameter in transform.parameters()]
    with torch.no_grad():
        for parameter in parameters:
            parameter += std * torch.randn_like(parameter)
    return sum(parameter.numel() for parameter in parameters)


def blocks_of(module):
    """Return the blocks of the base and of the kernel of a transformed convolution."""
    layout = transform_of(module).layout
    return layout.to_blocks(module.parametrizations.weight.original), layout.to_blocks(module.weight)
