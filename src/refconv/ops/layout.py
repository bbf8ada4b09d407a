"""Layouts: how a stored convolution weight is read as blocks of slices, and written back.

A weight holds one slice (a kernel of k taps) for every (out, in) pair that its convolution connects. Formula (1) of
docs/math.md acts on *blocks* of m slices, so all there is to know of a weight is which slices make a block.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import get_args

import torch
from torch import Tensor

from refconv.config import Order
from refconv.errors import SettingError
from refconv.ops.grams import effective_map_size


@dataclass(frozen=True)
class Layout:
    """The slices of one convolution weight and their order in blocks.

    With ``out_per_group = out // groups`` and ``in_per_group = in // groups`` there are
    ``out * in // groups`` slices in ``out_per_group * in_per_group`` blocks of ``groups`` slices each: dense
    convolutions have a block per slice, depthwise ones a single block of all channels. Both orders agree
    for those two; they differ for 1 < groups < channels:

    * ``contiguous``: consecutive slices of the flattened [out, in // groups] axes, as the paper's release does.
    * ``across``: the slices at the same (out, in) position of the different groups.

    Two further orders relate more to one another, the same for all kinds of convolutions:

    * ``layer``: all slices of the layer are one block.
    * ``filters``: a filter counts as one slice, its kernels one above the other, and the filters of the layer are one
      block. The map has one tap.

    Args:
        groups: groups of the convolution.
        out_per_group: output channels per group.
        in_per_group: input channels per group.
        kernel_size: taps per spatial dimension, one to three of them.
        transposed: whether the weight is stored as [in, out // groups, ...]; blocks are those of the equivalent
            ordinary convolution.
        experts: number of experts in flattened weights [experts, slices * taps]; each has blocks of its own.
        order: see above.
        parts: 2 for complex weights, whose real and imaginary parts have blocks of their own, the real ones first.

    Example:
        >>> Layout(groups=32, out_per_group=1, in_per_group=1, kernel_size=(3, 3)).block_shape
        (1, 32, 9)
        >>> Layout(groups=1, out_per_group=64, in_per_group=32, kernel_size=(3, 3)).block_shape
        (2048, 1, 9)
        >>> Layout(groups=1, out_per_group=64, in_per_group=32, kernel_size=(3, 3), order="filters").block_shape
        (1, 64, 288)
    """

    groups: int
    out_per_group: int
    in_per_group: int
    kernel_size: tuple[int, ...]
    transposed: bool = False
    experts: int | None = None
    order: Order = "contiguous"
    parts: int = 1

    def __post_init__(self) -> None:
        if self.order not in (known := get_args(Order)):
            raise SettingError("unknown order", where="order", expected=" or ".join(known), found=repr(self.order))

    @property
    def real(self) -> Layout:
        """The layout of the same slices stored as real numbers, the parts of complex ones as experts."""
        if self.parts == 1:
            return self
        return replace(self, parts=1, experts=self.parts * (self.experts or 1))

    @property
    def slice_size(self) -> tuple[int, ...]:
        """Taps of one slice per dimension: those of the kernel, or of all kernels of a filter one above the other."""
        if self.order != "filters":
            return self.kernel_size
        return self.in_per_group * self.kernel_size[0], *self.kernel_size[1:]

    @property
    def taps(self) -> int:
        """Taps k of one slice."""
        return prod(self.slice_size)

    @property
    def slices(self) -> int:
        """Slices m of a block."""
        outputs = self.groups * self.out_per_group
        return {"layer": outputs * self.in_per_group, "filters": outputs}.get(self.order, self.groups)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        of_layer = self.order in {"layer", "filters"}
        return self.parts * (self.experts or 1) * (1 if of_layer else self.out_per_group * self.in_per_group)

    @property
    def block_shape(self) -> tuple[int, int, int]:
        """[blocks, m, k]."""
        return self.blocks, self.slices, self.taps

    def map_size(self, map_size: int | Sequence[int]) -> tuple[int, ...]:
        """Return the taps of a refocusing map per dimension: as asked for, cut to what a slice allows; see above.

        Raises:
            SettingError: as :func:`refconv.ops.effective_map_size`.
        """
        sizes = effective_map_size(self.kernel_size, map_size)
        return (1,) * len(sizes) if self.order == "filters" else sizes

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the stored weight."""
        _, groups, outer, inner, taps = self._stored_axes()
        if self.experts is not None:
            return self.experts, groups * outer * inner * taps
        return groups * outer, inner, *self.kernel_size

    def to_blocks(self, weight: Tensor) -> Tensor:
        """Gather the slices of a stored weight into real blocks [blocks, m, k]."""
        if weight.is_complex():
            weight = torch.view_as_real(weight.resolve_conj()).movedim(-1, 0)
        return weight.reshape(*self._stored_axes()).permute(self._axes()).reshape(self.block_shape)

    def from_blocks(self, blocks: Tensor) -> Tensor:
        """Scatter blocks [blocks, m, k] back to the stored shape: the inverse of :meth:`to_blocks`."""
        axes, stored = self._axes(), self._stored_axes()
        slices = blocks.reshape([stored[axis] for axis in axes])
        stored_order = slices.permute(sorted(range(len(axes)), key=axes.__getitem__))
        if self.parts == 1:
            return stored_order.reshape(self.weight_shape)
        parts = stored_order.reshape(self.parts, *self.weight_shape).movedim(0, -1)
        return torch.view_as_complex(parts.contiguous())

    def _stored_axes(self) -> tuple[int, int, int, int, int]:
        """[parts * experts, groups, outer per group, inner per group, k], outer and inner as they are stored."""
        out, in_ = self.out_per_group, self.in_per_group
        return (
            self.parts * (self.experts or 1),
            self.groups,
            *((in_, out) if self.transposed else (out, in_)),
            prod(self.kernel_size),
        )

    def _axes(self) -> tuple[int, int, int, int, int]:
        """The order in which the stored axes are read so that blocks are consecutive."""
        out, in_ = (3, 2) if self.transposed else (2, 3)
        return (0, out, in_, 1, 4) if self.order == "across" else (0, 1, out, in_, 4)
