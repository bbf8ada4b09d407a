"""Patches, Grams and the scale of refocusing: what a frozen base offers to a refocusing map.

For a block B [m, k] of slices and a map of t taps, the patches P [m * t, k] hold every slice shifted by every tap
of the map, zero outside: row (j, d) is ``P[(j, d), y] = B[j, y + d - r]`` with r = (map_size - 1) / 2 per
dimension. A cross-correlation of the block with a map of weights R is then the product R P. The Gram
G = P^T P is the metric that refocusing puts on the space of kernels (docs/math.md).

The displacement R P' of a block, P' = P G^((power - 1) / 2), is divided by a number c_A, and the gradient that reaches
R is multiplied by (c_A / c_S)^2 (docs/math.md, "Scale"). Optimizers that step by the sign of the gradient, such as
Adam, see c_A alone; SGD moves the kernel by g G^power / c_S^2.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from refconv.config import Scale, checked_map_size
from refconv.errors import SettingError

Sizes = Sequence[int]  #: One number for each spatial dimension
_CHUNK = 2**19  #: Numbers that a chunk may hold beside the kernels; chosen so that they stay in a processor's cache
_DEAD = 2.0**-100  #: Blocks whose Gram has eigenvalues of this root mean or less count as zero, for float32's sake


def effective_map_size(kernel_size: Sizes, map_size: int | Sizes) -> tuple[int, ...]:
    """Return the map size per dimension, cut to what the kernel allows.

    ``map_size`` may be one odd number for all dimensions. A map of size s shifts by up to (s - 1) / 2 in either
    direction. Shifts by the kernel's own length K or more leave nothing of a slice, so sizes are cut at 2 K - 1. Even
    kernels need no special case: the map is odd, so it has a centre, and the kernel keeps its size.

    Raises:
        SettingError: if a size is not odd and positive, or there are not as many as dimensions.

    Example:
        >>> effective_map_size((1, 11), 3)
        (1, 3)
        >>> effective_map_size((2, 2), 5)
        (3, 3)
    """
    size = checked_map_size("map_size", map_size)
    sizes = (size,) * len(kernel_size) if isinstance(size, int) else size
    if len(sizes) != len(kernel_size):
        kernel, found = (" x ".join(map(str, numbers)) for numbers in (kernel_size, sizes))
        what, expected = "map size and kernel differ in dimensions", f"one odd number, or {len(kernel_size)}"
        raise SettingError(what, where="map_size", expected=f"{expected} for a kernel of {kernel}", found=found)
    return tuple(min(size, 2 * taps - 1) for size, taps in zip(sizes, kernel_size, strict=True))


def patches(blocks: Tensor, kernel_size: Sizes, map_size: Sizes) -> Tensor:
    """Unfold blocks of slices into their patches P [b, m * t, k]."""
    b, m, k = blocks.shape
    padding = [side for size in reversed(map_size) for side in [(size - 1) // 2] * 2]
    shifted = F.pad(blocks.reshape(b * m, *kernel_size), padding)
    for dimension, size in enumerate(kernel_size, start=1):
        shifted = shifted.unfold(dimension, size, 1)  # [..., map positions, ..., kernel positions]
    return shifted.reshape(b, m * prod(map_size), k)


def gram(patches: Tensor) -> Tensor:
    """Return the Gram G = P^T P [b, k, k]."""
    return patches.mT @ patches


def mean_eigenvalue(blocks: Tensor, kernel_size: Sizes, map_size: Sizes) -> Tensor:
    """Return the mean eigenvalue [b] of the Gram, trace(G) / k, without forming patches or Gram.

    The trace is the sum of all squared patch entries, and the tap at position x of a slice enters P once for
    every shift that keeps it inside the kernel. That number is a product over dimensions.
    """
    visits = torch.ones(1, dtype=blocks.dtype, device=blocks.device)
    for taps, size in zip(kernel_size, map_size, strict=True):
        reach = (size - 1) // 2
        counts = [min(x + reach, taps - 1) - max(x - reach, 0) + 1 for x in range(taps)]
        visits = (visits[:, None] * torch.tensor(counts, dtype=blocks.dtype, device=blocks.device)).reshape(-1)
    return (blocks.square() * visits).sum((1, 2)) / blocks.shape[-1]


def gram_power(grams: Tensor, exponent: float) -> Tensor:
    """Return the symmetric matrix power G^exponent [b, k, k] of positive semidefinite Grams.

    Eigenvalues that are zero to rounding keep a power of zero under negative exponents (the pseudo-inverse), so
    directions that the base does not span stay untouched.
    """
    values, vectors = torch.linalg.eigh(grams)
    floor = values.amax(-1, keepdim=True).clamp(min=0) * grams.shape[-1] * torch.finfo(grams.dtype).eps
    alive = values > floor
    powered = torch.where(alive, torch.where(alive, values, 1).pow(exponent), 0)
    power: Tensor = (vectors * powered[:, None, :]) @ vectors.mT
    return power


def shaped_patches(patches: Tensor, power: float) -> Tensor:
    """Return P G^((power - 1) / 2), whose Gram is G^power: 1 leaves P as it is, 0 makes its columns orthonormal."""
    if power == 1:
        return patches
    return patches @ gram_power(gram(patches), (power - 1) / 2)


@dataclass(frozen=True)
class Scaling:
    """The scale of every block of a layer, in float64."""

    sign: Tensor  #: c_A [b, 1, 1], by which the displacement R P' is divided
    root: Tensor  #: c_S [b, 1, 1]; gradient space multiplies gradients by G^power / c_S^2

    @property
    def gain(self) -> Tensor:
        """The factor (c_A / c_S)^2 [b, 1, 1] on the gradient that reaches R."""
        return (self.sign / self.root).square()


def scaling(blocks: Tensor, kernel_size: Sizes, map_size: Sizes, *, scale: Scale, power: float = 1.0) -> Scaling:
    """Return the scale of refocusing on a base.

    * ``paper``: one everywhere, as released.
    * ``normalized``: c_A = c_S, the root of the mean eigenvalue of G to the power, so that the base inside P has a
      Gram of mean eigenvalue one.
    * ``capped``: c_S^2 is the largest eigenvalue of G^power and c_A^2 the bound tr(H^2) / k on the mean square that
      an entry of the kernel moves under a step by signs, where H sums p p^T / |p| over the rows p of P'. Each is taken
      to be one where it is less.

    Blocks of zeros, and those so small that float32 cannot hold their scale, have a scale of one.
    """
    blocks = blocks.double()
    b, m, k = blocks.shape
    if scale == "capped":
        sign, root = torch.empty(2, b, 1, 1, dtype=blocks.dtype, device=blocks.device)
        for part in chunks(b, prod(map_size) * m * k):
            unfolded = shaped_patches(patches(blocks[part], kernel_size, map_size), power)
            lengths = unfolded.square().sum(-1, keepdim=True).sqrt()
            spread = unfolded.mT @ (unfolded / torch.where(lengths > 0, lengths, 1))
            sign[part] = (spread.square().sum((1, 2), keepdim=True) / k).sqrt()
            root[part] = _largest_eigenvalue(unfolded)[:, None, None].sqrt()
        return Scaling(sign.clamp(min=1), root.clamp(min=1))
    ones = torch.ones(b, 1, 1, dtype=blocks.dtype, device=blocks.device)
    if scale == "paper":
        return Scaling(ones, ones)
    root = mean_eigenvalue(blocks, kernel_size, map_size).sqrt()[:, None, None]
    root = torch.where(root > _DEAD, root, ones).pow(power)
    return Scaling(root, root)


def _largest_eigenvalue(patches: Tensor) -> Tensor:
    """Return the largest eigenvalue [b] of P^T P; where the trace is not above one, any number up to one."""
    found = patches.square().sum((1, 2))
    above = (found > 1) & found.isfinite()  # most dense slices are below
    chosen = patches[above]
    shorter = chosen.mT if chosen.shape[1] < chosen.shape[2] else chosen  # P P^T has the same eigenvalues, and zeros
    found[above] = torch.linalg.eigvalsh(shorter.mT @ shorter)[:, -1]
    return found


def amplified(displacement: Tensor, gain: Tensor) -> Tensor:
    """Return the displacement as it is; the gradient that passes it is multiplied by the gain."""
    chosen = _Amplified if torch.compiler.is_compiling() else _AmplifiedForward
    same: Tensor = chosen.apply(displacement, gain)
    return same


class _Amplified(torch.autograd.Function):
    """Identity forward, multiplication backward. Without a jvp, with which torch.compile could not trace it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(displacement: Tensor, gain: Tensor) -> Tensor:
        return displacement.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (gain,) = ctx.saved_tensors
        return gradient * gain, None


class _AmplifiedForward(_Amplified):
    """The same with a jvp: forward mode gives the derivative of what forward computes, the identity."""

    @staticmethod
    def jvp(ctx: Any, displacement: Tensor, gain: Tensor | None) -> Tensor:
        return displacement.clone()


def chunks(blocks: int, numbers_per_block: int) -> Iterator[slice]:
    """Cut a number of blocks into runs that need at most a chunk's numbers each, or are single blocks."""
    size = max(1, _CHUNK // numbers_per_block)
    for first in range(0, blocks, size):
        yield slice(first, first + size)
