"""The metric of a layer, the Gram of its base, ready to multiply gradients, g -> g G; and clipping by its norm.

All ways work on the part of a kernel that this process holds, in the stored shape and in at least float32. What they
keep is never much larger than the kernels, except for powers of the Gram at dense layers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from math import prod
from typing import Any, cast

import torch
from torch import Tensor

from refconv.errors import LayerError
from refconv.fused import slices as fused
from refconv.gradspace.groups import KernelSpec
from refconv.ops import (
    Layout,
    added,
    apply_gram,
    apply_gram_by_convolution,
    apply_gram_by_patches,
    metric_factors,
    metric_gram,
    scaling,
)
from refconv.parametrizations import computing_dtype

# Grams of so many numbers are kept even where they are larger than their kernels.
_SMALL = 2**20


class Metric(ABC):
    """What multiplies the gradients of one layer; its base comes in the stored shape, sharded as the kernel is."""

    def __init__(self, geometry: KernelSpec, base: Tensor) -> None:
        self.layout, self.sizes = geometry.layout, (geometry.layout.slice_size, geometry.map_size)
        self.power, self.shape, self.layer = geometry.power, geometry.shape, geometry.label
        self.dtype, self.device = computing_dtype(base), base.device
        self.gain: Tensor | None = None
        self.root: Tensor | None = None  # c_S [b, 1, 1], None where all are one
        self.shift: Tensor | None = None  # what damping adds to G / c_S^2 [b, 1, 1], where no Grams are stored
        self.mask = local(base) != 0 if geometry.zeros == "keep" else None
        if geometry.scale == "paper":  # the other scales divide the Gram by about its own size
            self._check_size(geometry, base)
        self._prepare(base)

    def _check_size(self, geometry: KernelSpec, base: Tensor) -> None:
        """Refuse a base with entries so large that those of its Gram to the power might overflow."""
        squares = sum_of_parts(real_parts(local(base)).double().square().sum(), base)
        trace = float(squares) * prod(geometry.map_size) * (1 + geometry.damping)  # of all blocks, or more
        if (largest := trace**geometry.power) > torch.finfo(self.dtype).max:
            what, expected = "its Gram is larger than its numbers can be", f"at most {torch.finfo(self.dtype).max:.3g}"
            remedy = "scale='capped' divides the Gram by its size; or load valid weights"
            raise LayerError(what, where=self.layer, expected=expected, found=f"up to {largest:.3g}", remedy=remedy)

    @staticmethod
    def of(geometry: KernelSpec, base: Tensor) -> Metric:
        """Return what multiplies the gradients of a layer, in the way that is best for it."""
        b, m, k = geometry.layout.block_shape
        if geometry.layout.order == "filters":
            return ByFilters(geometry, base)
        if m == 1:
            return BySlices(geometry, base)
        if is_sharded(base):
            if base.is_complex():
                remedy = "kernel space: refconv.refocus(model)"
                raise LayerError("complex kernels of groups cannot be sharded", where=geometry.label, remedy=remedy)
            return ByRows(geometry, base)
        large = geometry.power == 1 and k > m and b * k * k > _SMALL
        return (ByPatches if large else ByGrams)(geometry, base)

    @abstractmethod
    def _prepare(self, base: Tensor) -> None: ...

    def apply(self, gradient: Tensor) -> Tensor:
        """Return g G / c_S^2 for (this process's part of) a gradient by the kernel, in ``self.dtype``.

        Where zeros are kept this is M ((M g) G) / c_S^2, with M one where the base is not zero and zero elsewhere.
        """
        return self._product(gradient) if self.mask is None else self._product(gradient * self.mask) * self.mask

    @abstractmethod
    def _product(self, gradient: Tensor) -> Tensor:
        """Return g G / c_S^2 for any gradient."""

    def squared_norm(self, gradient: Tensor, found: Tensor) -> Tensor:
        """Return the squared norm of the gradient by the refocus weight, gain <g, g G> / c_S^2 summed over blocks.

        ``found`` is what :meth:`apply` returns for the gradient.
        """
        if gradient.is_complex():  # entry by entry, of both parts
            products = torch.complex(gradient.real * found.real, gradient.imag * found.imag)
        else:
            products = gradient.to(self.dtype) * found
        if self.gain is not None:
            return (self._sums(products) * self.gain).sum()
        return real_parts(products).sum()

    def _sums(self, products: Tensor) -> Tensor:
        """Return the sum of what belongs to each block [b], or to each slice where slices have gains of their own."""
        return self.layout.to_blocks(products).sum((1, 2))

    def _grams(self, blocks: Tensor) -> Tensor:
        """Compute Grams as kernel space computes patches: in float64, rounded once."""
        return metric_gram(blocks.double(), *self.sizes, **self.shape).to(self.dtype)

    def _scale(self, blocks: Tensor) -> None:
        """Find gain, root and shift of every block; gains [b] and roots are None where all are one."""
        found = scaling(blocks, *self.sizes, **self.shape)
        gain, root = found.gain[:, 0, 0].to(self.dtype), found.root.to(self.dtype)
        self.gain = None if bool((gain == 1).all()) else gain
        self.root = None if bool((root == 1).all()) else root  # as at most dense layers under ``capped``
        if self.shape["damping"] != 0:
            more = added(blocks.double(), *self.sizes, self.shape["damping"])
            self.shift = (more / found.root.square()).to(self.dtype)

    def _shifted(self, found: Tensor, gradient: Tensor) -> Tensor:
        """Add to g G / c_S^2 what damping does, for gradients as blocks."""
        return found if self.shift is None else found.addcmul_(gradient, self.shift)


class ByGrams(Metric):
    """One product with the Grams [b, k, k] of all blocks: depthwise and grouped layers."""

    def _prepare(self, base: Tensor) -> None:
        self.base, blocks = base, self.layout.to_blocks(base)
        self.grams = self._grams(blocks)
        self._scale(blocks)

    def _product(self, gradient: Tensor) -> Tensor:
        return self.layout.from_blocks(apply_gram(self.layout.to_blocks(gradient).to(self.dtype), self.grams))

    @cached_property
    def owners(self) -> Tensor | None:
        """The block of every slice in the order in which they are stored, int32; None where there is one block."""
        return None if len(self.grams) == 1 else block_numbers(self.layout, self.grams.device).int()


class ByPatches(Metric):
    """P^T, then P, in chunks of blocks: large layers of few slices per block, whose Grams would outgrow them."""

    def _prepare(self, base: Tensor) -> None:
        self.base = base
        self._scale(self.layout.to_blocks(base))

    def _product(self, gradient: Tensor) -> Tensor:
        parts = (self.base.to(gradient.device), gradient)
        blocks, own = (self.layout.to_blocks(part).to(self.dtype) for part in parts)
        found = apply_gram_by_patches(own, blocks, *self.sizes, self.root)
        return self.layout.from_blocks(self._shifted(found, own))


class BySlices(Metric):
    """P^T, then P, slice by slice: dense layers, where every slice is a block, in whatever order they are stored."""

    def _prepare(self, base: Tensor) -> None:
        self.base = local(base)
        slices = self._slices(self.base)
        self.grams = None if self.power == 1 else self._grams(slices)
        self._scale(slices)

    def _product(self, gradient: Tensor) -> Tensor:
        if self.grams is None and not gradient.is_complex():
            own, base = gradient.to(self.dtype), self.base.to(gradient.device, self.dtype)
            if fused.fits(*self.sizes, own, base):
                return fused.multiply(own, base, *self.sizes, root=self.root, shift=self.shift)
        slices = self._slices(gradient).to(self.dtype)
        if self.grams is not None:
            return self._stored(apply_gram(slices, self.grams), gradient)
        base = self._slices(self.base.to(gradient.device)).to(self.dtype)
        found = apply_gram_by_convolution(slices, base, *self.sizes, self.root)
        return self._stored(self._shifted(found, slices), gradient)

    def _sums(self, products: Tensor) -> Tensor:
        return self._slices(products).sum((1, 2))

    def _slices(self, weight: Tensor) -> Tensor:
        return real_parts(weight).reshape(-1, 1, self.layout.taps)

    @staticmethod
    def _stored(slices: Tensor, like: Tensor) -> Tensor:
        if not like.is_complex():
            return slices.reshape(like.shape)
        return torch.view_as_complex(slices.reshape(2, *like.shape).movedim(0, -1).contiguous())


class ByRows(Metric):
    """Each slice times its own block's Gram, which every process has: shards cut through blocks, not slices."""

    def _prepare(self, base: Tensor) -> None:
        blocks = self.layout.to_blocks(gathered(base))
        self.grams = self._grams(blocks)
        self._scale(blocks)
        everywhere = block_numbers(self.layout, self.grams.device).repeat_interleave(self.layout.taps)
        everywhere = everywhere.reshape(self.layout.weight_shape)
        self.block_of = local(sharded_like(everywhere, base)).reshape(-1, self.layout.taps)[:, 0].clone()
        if self.gain is not None:
            self.gain = self.gain[self.block_of]

    def _sums(self, products: Tensor) -> Tensor:
        return products.reshape(-1, self.layout.taps).sum(1)

    def _product(self, gradient: Tensor) -> Tensor:
        slices = gradient.to(self.dtype).reshape(-1, 1, self.layout.taps)
        if len(self.grams) == 1:
            return apply_gram(slices, self.grams.expand(len(slices), -1, -1)).reshape(gradient.shape)
        out = torch.empty_like(slices)
        step = max(1, _SMALL // self.layout.taps**2)
        for first in range(0, len(slices), step):
            part = slice(first, first + step)
            out[part] = apply_gram(slices[part], self.grams[self.block_of[part]])
        return out.reshape(gradient.shape)


class ByFilters(Metric):
    """Filters of the layer, each as a whole: by the Gram [k, k] where filters are short, else by factors A [r, k].

    As g A^T diag(w) A + s g no matrix is larger than the kernels are. Rows of g need nothing of one another, so a
    kernel that is sharded by filters needs the whole base alone, which each process keeps.
    """

    def _prepare(self, base: Tensor) -> None:
        b, m, k = self.layout.block_shape
        self.sharded = is_sharded(base)
        if self.sharded and (b > 1 or self.layout.transposed or not _by_rows(base)):
            what, remedy = "its filters are cut by sharding", "shard along the first dimension, or order='contiguous'"
            raise LayerError(what, where=self.layer, expected="each filter in one process", remedy=remedy)
        blocks = self.layout.to_blocks(gathered(base))
        self._scale(blocks)
        self.grams: Tensor | None = None
        if k <= m or (k <= 2 * m and b * k * k <= _SMALL):
            self.grams = self._grams(blocks)
        else:
            found = metric_factors(blocks.double(), *self.sizes, **self.shape)
            self.factors, self.weights, self.shift = (one.to(self.dtype) for one in found)

    def _product(self, gradient: Tensor) -> Tensor:
        if self.sharded:
            rows = gradient.to(self.dtype).reshape(1, gradient.numel() // self.layout.taps, self.layout.taps)
            return self._multiplied(rows).reshape(gradient.shape)
        return self.layout.from_blocks(self._multiplied(self.layout.to_blocks(gradient).to(self.dtype)))

    def _multiplied(self, rows: Tensor) -> Tensor:
        if self.grams is not None:
            return apply_gram(rows, self.grams)
        return self._shifted((rows @ self.factors.mT * self.weights) @ self.factors, rows)

    def _sums(self, products: Tensor) -> Tensor:
        return products.sum().reshape(1) if self.sharded else super()._sums(products)


def _by_rows(tensor: Any) -> bool:
    """Return whether a sharded tensor is cut along its first dimension only."""
    return all(one.is_replicate() or one.is_shard(0) for one in tensor.placements)


def block_numbers(layout: Layout, device: torch.device) -> Tensor:
    """Return the number of the block that each slice belongs to, in the order in which slices are stored."""
    numbers = torch.arange(layout.blocks, device=device)[:, None, None]
    return layout.from_blocks(numbers.expand(layout.block_shape)).reshape(-1, layout.taps)[:, 0]


@torch.no_grad()
def clip_by_norm(
    trained: Sequence[tuple[Tensor, Metric | None]],
    max_norm: float,
    multiply: Callable[[Sequence[Metric], Sequence[Tensor]], list[Tensor]],
    *,
    error_if_nonfinite: bool = False,
) -> Tensor:
    """Scale gradients to a norm of at most ``max_norm``, by <g, g G> at refocused kernels; return the norm before.

    ``multiply`` returns g G / c_S^2 for metrics and gradients. The device is waited for only if ``error_if_nonfinite``.
    """
    squares, gradients = [], [local(cast("Tensor", parameter.grad)) for parameter, _ in trained]
    refocused = [(metric, part) for (_, metric), part in zip(trained, gradients, strict=True) if metric is not None]
    metrics, parts = [metric for metric, _ in refocused], [part for _, part in refocused]
    with torch.autocast(gradients[0].device.type if gradients else "cpu", enabled=False):
        found = iter(multiply(metrics, parts))
        for (parameter, metric), part in zip(trained, gradients, strict=True):
            if metric is None:
                square = real_parts(part.to(torch.promote_types(part.dtype, torch.float32))).square().sum()
            else:
                square = metric.squared_norm(part, next(found))
            squares.append(sum_of_parts(square, parameter.grad))
    if not squares:
        return torch.zeros(())
    norm = torch.stack([square.to(squares[0].device) for square in squares]).sum().clamp(min=0).sqrt()
    if error_if_nonfinite and not bool(norm.isfinite()):
        raise RuntimeError(f"the norm of the gradients is {norm.item()}, so they cannot be clipped")
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # torch's formula, with its guard against a norm of zero
    for device in {gradient.device: None for gradient in gradients}:
        torch._foreach_mul_([one for one in gradients if one.device == device], factor.to(device))
    return norm


def real_parts(tensor: Tensor) -> Tensor:
    """Return a tensor, or the real and the imaginary part of a complex one, one after the other."""
    return torch.view_as_real(tensor.resolve_conj()).movedim(-1, 0) if tensor.is_complex() else tensor


# Sharded tensors (torch's DTensor, as FSDP2 makes them), recognised without loading torch's distributed package.


def is_sharded(tensor: Tensor) -> bool:
    """Return whether each process holds a part of the tensor only."""
    return hasattr(tensor, "device_mesh")


def local(tensor: Tensor) -> Tensor:
    """Return the part that this process holds; of an ordinary tensor, all of it."""
    return cast("Any", tensor).to_local() if is_sharded(tensor) else tensor


def gathered(tensor: Tensor) -> Tensor:
    """Return the whole tensor; all processes that share it must ask."""
    return cast("Any", tensor).full_tensor() if is_sharded(tensor) else tensor


def sharded_like(whole: Tensor, other: Any) -> Tensor:
    """Return a whole tensor cut as another one is; of what differs between processes, the first one's counts."""
    if not is_sharded(other):
        return whole
    from torch.distributed.tensor import distribute_tensor

    return distribute_tensor(whole, other.device_mesh, other.placements)


def from_local(part: Tensor, other: Any) -> Tensor:
    """Return the tensor of which this process's part is ``part``, cut as ``other`` is."""
    if not is_sharded(other):
        return part
    from torch.distributed.tensor import DTensor

    whole: dict[str, Any] = {"shape": other.shape, "stride": other.stride()}
    return DTensor.from_local(part, other.device_mesh, other.placements, run_check=False, **whole)


def sum_of_parts(part: Tensor, other: Any) -> Tensor:
    """Sum a number over the processes that share ``other``; where it is replicated, equal parts count once."""
    if not is_sharded(other):
        return part
    from torch.distributed.tensor import DTensor, Partial, Replicate

    placements = [Replicate() if placement.is_replicate() else Partial() for placement in other.placements]
    return DTensor.from_local(part, other.device_mesh, placements, run_check=False).full_tensor()
