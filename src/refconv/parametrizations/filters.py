"""Blocks of slices read as filters: all slices of one output channel in a row.

Some transformations act on whole filters, one for each output channel, which holds in // groups slices of k taps.
The groups of a convolution do not matter to them: all its filters have the same shape.
"""

from __future__ import annotations

from torch import Tensor

from refconv.ops import Layout


def filter_shape(layout: Layout) -> tuple[int, int, int]:
    """Return [experts, out, in // groups * k]; the number of experts is one for ordinary convolutions."""
    return layout.experts or 1, layout.groups * layout.out_per_group, layout.in_per_group * layout.taps


def to_filters(blocks: Tensor, layout: Layout) -> Tensor:
    """Read blocks [b, m, k] as filters [experts, out, in // groups * k].

    A transposed convolution stores [in, out // groups, ...]; its filters are those of the equivalent ordinary
    convolution.
    """
    weight = layout.from_blocks(blocks)
    if layout.transposed:
        stored = weight.reshape(layout.groups, layout.in_per_group, layout.out_per_group, layout.taps)
        weight = stored.transpose(1, 2)
    return weight.reshape(filter_shape(layout))


def from_filters(filters: Tensor, layout: Layout) -> Tensor:
    """Return filters [experts, out, in // groups * k] as blocks [b, m, k]: the inverse of :func:`to_filters`."""
    if layout.transposed:
        read = filters.reshape(layout.groups, layout.out_per_group, layout.in_per_group, layout.taps)
        filters = read.transpose(1, 2)
    return layout.to_blocks(filters.reshape(layout.weight_shape))
