"""Patches and Grams: what a frozen base offers to a refocusing map.

For a block B [m, k] of slices and a map of t taps, the patches P [m * t, k] hold every slice shifted by every tap
of the map, zero outside: row (j, d) is ``P[(j, d), y] = B[j, y + d - r]`` with r = (map_size - 1) / 2 per
dimension. A cross-correlation of the block with a map of weights R is then the product R P. The Gram
G = P^T P is the metric that refocusing puts on the space of kernels (docs/math.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from refconv.config import checked_map_size
from refconv.errors import SettingError

Sizes = Sequence[int]  #: One number for each spatial dimension


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
