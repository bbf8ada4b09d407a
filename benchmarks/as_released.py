"""Refocusing as its authors released it, for comparison: the published formula as one convolution per forward.

Source: RefConv: Re-parameterized Refocusing Convolution for Powerful ConvNets, arXiv 2310.10563, section 3. A kernel
[out, in / groups, *size] is read as one image of n = out * in / groups channels; a convolution without bias, of
in * out / groups^2 groups, runs over it, and the result is added. The map's weights start as those of any
convolution, are decayed like others, and the kernel is computed in every forward pass. Non-square kernels, of which the
paper has none, get the map size that refconv gives them.

This is written from the formula; it shares no code with ``refconv.ops`` but the map size.
"""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from refconv.layers import find_layers, select
from refconv.ops import effective_map_size

CONVOLUTION: dict[int, tuple[Any, Any]] = {1: (nn.Conv1d, F.conv1d), 2: (nn.Conv2d, F.conv2d), 3: (nn.Conv3d, F.conv3d)}


class AsReleased(nn.Module):
    """kernel = base + convolution(base), as a parametrization of one convolution's weight.

    Args:
        weight: the pretrained kernel [out, in / groups, *size].
        groups: of its convolution.
        map_size: taps of the map per dimension.
    """

    def __init__(self, weight: Tensor, groups: int, map_size: int = 3) -> None:
        super().__init__()
        out, in_per_group, *size = weight.shape
        slices, map_sizes = out * in_per_group, effective_map_size(size, map_size)
        self.groups = slices // groups
        self.padding = [(taps - 1) // 2 for taps in map_sizes]
        made, self.convolve = CONVOLUTION[len(size)]
        like = made(slices, slices, map_sizes, groups=self.groups, bias=False, device=weight.device, dtype=weight.dtype)
        self.weight: Tensor = like.weight

    def forward(self, base: Tensor) -> Tensor:
        """Return the kernel for a base [out, in / groups, *size]."""
        image = base.reshape(1, -1, *base.shape[2:])
        found: Tensor = self.convolve(image, self.weight, padding=self.padding, groups=self.groups)
        return base + found.reshape(base.shape)


def refocus_as_released(model: nn.Module, map_size: int = 3) -> None:
    """Freeze the kernels of a model that have more than one tap, and let them be refocused as released; in place."""
    for choice in select(find_layers(model)):
        if choice.skipped is None:
            module: Any = choice.layer.module
            transform = AsReleased(module.weight, choice.layer.groups, map_size)
            parametrize.register_parametrization(module, "weight", transform, unsafe=True)
            module.parametrizations.weight.original.requires_grad_(False)
