"""The metric of a site: the Gram of its base, ready to multiply gradients, g -> g G.

One class for each way in which that is best done. All work on the part of a kernel that this process holds, take and
return it in the stored shape, and compute in at least float32. What they keep is never much larger than the kernels,
except where a power of the Gram is asked of dense sites, which cannot be applied without being formed.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from refconv.gradspace.geometry import Geometry
from refconv.gradspace.sharding import gathered, is_sharded, local, sharded_like
from refconv.ops import (
    apply_gram,
    apply_gram_by_convolution,
    apply_gram_by_patches,
    metric_gram,
    normalizing_scale,
)
from refconv.parametrizations import computing_dtype

# Grams of so many numbers are kept even where they are larger than their kernels.
_SMALL = 2**20


class Metric(ABC):
    """What multiplies the gradients of one site.

    Args:
        geometry: the site.
        base: its base, in the stored shape, sharded as the kernel is.
    """

    def __init__(self, geometry: Geometry, base: Tensor) -> None:
        self.layout, self.map_size = geometry.layout, geometry.map_size
        self.normalize, self.power = geometry.normalize, geometry.power
        self.dtype = computing_dtype(base)

    @abstractmethod
    def apply(self, gradient: Tensor) -> Tensor:
        """Return g G for (this process's part of) a gradient by the kernel, in ``self.dtype``."""

    def squared_norm(self, gradient: Tensor) -> Tensor:
        """Return <g, g G>: the squared norm of the gradient by the refocus weight, or this part's share of it."""
        return (gradient.to(self.dtype) * self.apply(gradient)).sum()

    def _grams(self, blocks: Tensor) -> Tensor:
        """Compute Grams as kernel space computes patches: in float64, rounded once."""
        found = metric_gram(
            blocks.double(), self.layout.kernel_size, self.map_size, normalize=self.normalize, power=self.power
        )
        return found.to(self.dtype)

    def _scale(self, blocks: Tensor) -> Tensor | None:
        """Return the factor [b, 1, 1] on g G that normalizing the base makes."""
        if not self.normalize:
            return None
        return normalizing_scale(blocks.double(), self.layout.kernel_size, self.map_size).square().to(self.dtype)


class ByGrams(Metric):
    """One product with the Grams [b, k, k] of all blocks: depthwise and grouped sites."""

    def __init__(self, geometry: Geometry, base: Tensor) -> None:
        super().__init__(geometry, base)
        self.grams = self._grams(self.layout.to_blocks(base))

    def apply(self, gradient: Tensor) -> Tensor:
        """Return g G."""
        return self.layout.from_blocks(apply_gram(self.layout.to_blocks(gradient.to(self.dtype)), self.grams))


class ByPatches(Metric):
    """P^T, then P, in chunks of blocks: large sites of few slices per block, whose Grams would outgrow them."""

    def __init__(self, geometry: Geometry, base: Tensor) -> None:
        super().__init__(geometry, base)
        self.base = base
        self.scale = self._scale(self.layout.to_blocks(base))

    def apply(self, gradient: Tensor) -> Tensor:
        """Return g G."""
        blocks = self.layout.to_blocks(self.base.to(self.dtype))
        found = apply_gram_by_patches(
            self.layout.to_blocks(gradient.to(self.dtype)), blocks, self.layout.kernel_size, self.map_size
        )
        return self.layout.from_blocks(found if self.scale is None else found.mul_(self.scale))


class BySlices(Metric):
    """P^T, then P, by convolution: dense sites, where every slice is a block, in whatever order they are stored."""

    def __init__(self, geometry: Geometry, base: Tensor) -> None:
        super().__init__(geometry, base)
        self.base = local(base)
        slices = self._slices(self.base)
        self.grams = None if self.power == 1 else self._grams(slices)
        self.scale = self._scale(slices) if self.power == 1 else None

    def apply(self, gradient: Tensor) -> Tensor:
        """Return g G."""
        slices = self._slices(gradient).to(self.dtype)
        if self.grams is not None:
            return apply_gram(slices, self.grams).reshape(gradient.shape)
        found = apply_gram_by_convolution(
            slices, self._slices(self.base).to(self.dtype), self.layout.kernel_size, self.map_size
        )
        return (found if self.scale is None else found.mul_(self.scale)).reshape(gradient.shape)

    def _slices(self, weight: Tensor) -> Tensor:
        return weight.reshape(-1, 1, self.layout.taps)


class ByRows(Metric):
    """Each slice times its own block's Gram: sharded kernels, whose shards cut through blocks but not through slices.

    The Grams of all blocks are in every process; they are made of the gathered base, once.
    """

    def __init__(self, geometry: Geometry, base: Tensor) -> None:
        super().__init__(geometry, base)
        self.grams = self._grams(self.layout.to_blocks(gathered(base)))
        numbers = torch.arange(self.layout.blocks, device=self.grams.device)[:, None, None]
        everywhere = self.layout.from_blocks(numbers.expand(self.layout.block_shape)).contiguous()
        self.block_of = local(sharded_like(everywhere, base)).reshape(-1, self.layout.taps)[:, 0].clone()

    def apply(self, gradient: Tensor) -> Tensor:
        """Return g G."""
        slices = gradient.to(self.dtype).reshape(-1, 1, self.layout.taps)
        if len(self.grams) == 1:
            return apply_gram(slices, self.grams.expand(len(slices), -1, -1)).reshape(gradient.shape)
        out = torch.empty_like(slices)
        step = max(1, _SMALL // self.layout.taps**2)
        for first in range(0, len(slices), step):
            part = slice(first, first + step)
            out[part] = apply_gram(slices[part], self.grams[self.block_of[part]])
        return out.reshape(gradient.shape)


def metric_of(geometry: Geometry, base: Tensor) -> Metric:
    """Return what multiplies the gradients of a site.

    Args:
        geometry: the site.
        base: its base, in the stored shape, sharded as the kernel is.
    """
    b, m, k = geometry.layout.block_shape
    if m == 1:
        return BySlices(geometry, base)
    if is_sharded(base):
        return ByRows(geometry, base)
    if geometry.power == 1 and k > m and b * k * k > _SMALL:
        return ByPatches(geometry, base)
    return ByGrams(geometry, base)
