"""Kernels as blocks, the way refocusing sees them, for the measures that speak of the Gram and the refocus weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import torch
from torch import Tensor

from refconv.analysis.pairs import Kernel, sampled
from refconv.ops import Order, effective_map_size

# The most blocks of a layer that are looked at, and what their eigenvalues and refocus weights may cost in
# multiplications. Layers of few blocks, depthwise ones above all, are always looked at whole.
_MOST_BLOCKS = 4096
_COST = 4 * 10**8
_LEAST_BLOCKS = 8


@dataclass(frozen=True)
class BlockView:
    """Which blocks of a layer are looked at, and how.

    Attributes:
        kernel_size: taps per dimension, product k.
        map_size: taps of the refocusing map per dimension, product t.
        order: how slices are gathered into blocks.
        total: blocks of the layer.
        chosen: indices [b] of those that are looked at.
    """

    kernel_size: tuple[int, ...]
    map_size: tuple[int, ...]
    order: Order
    total: int
    chosen: Tensor

    def of(self, kernel: Kernel) -> Tensor:
        """Return the blocks [b, m, k] of a kernel."""
        return replace(kernel.layout, order=self.order).to_blocks(kernel.weight)[self.chosen]

    def output_channels(self, kernel: Kernel) -> Tensor:
        """Return to which output channel every slice of the blocks belongs [b, m]."""
        one_tap = replace(kernel.layout, kernel_size=(1,) * len(self.kernel_size), order="contiguous", experts=None)
        slices = one_tap.blocks * one_tap.groups
        experts = kernel.layout.experts or 1
        numbers = torch.arange(slices) // one_tap.in_per_group
        found = replace(one_tap, order=self.order).to_blocks(one_tap.from_blocks(numbers.reshape(one_tap.block_shape)))
        channels = one_tap.groups * one_tap.out_per_group
        return torch.cat([found[..., 0] + expert * channels for expert in range(experts)])[self.chosen]


def view_blocks(kernel: Kernel, map_size: int | Sequence[int], order: Order, seed: int) -> BlockView:
    """Say which blocks of a layer to look at: all of them, or a sample where there are very many.

    Args:
        kernel: of the layer.
        map_size: taps of the refocusing map, one odd number or one per dimension; cut to what the kernel allows.
        order: how slices are gathered into blocks.
        seed: of the sample.

    Raises:
        SettingError: if the map size or the order does not exist.
    """
    layout = replace(kernel.layout, order=order)
    sizes = effective_map_size(kernel.kernel_size, map_size)
    blocks, m, k = layout.block_shape
    cost = 10 * k**3 + m * m * prod(sizes) * k
    chosen = sampled(blocks, max(_LEAST_BLOCKS, min(_MOST_BLOCKS, _COST // cost)), seed)
    return BlockView(kernel.kernel_size, sizes, order, blocks, chosen)


def median(values: Tensor) -> float:
    """Return the median, the mean of the middle two for an even number of values."""
    return float(values.double().quantile(0.5))
