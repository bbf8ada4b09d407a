"""Patches and Grams: what a frozen base offers to a refocusing map.

For a block B [m, k] of slices and a map of t taps, the patches P [m * t, k] hold every slice shifted by every tap
of the map, zero outside: row (j, d) is ``P[(j, d), y] = B[j, y + d - r]`` with r = (map_size - 1) / 2 per
dimension. A cross-correlation of the block with a map of weights R is then the product R P. The Gram
G = P^T P is the metric that refocusing puts on the space of kernels (docs/math.md).

With damping, k more rows follow, sqrt(damping * l) times the identity, where l is the mean eigenvalue of G. The Gram
of the damped patches P~ is G~ = G + damping * l * I, and P~ and G~ stand wherever P and G do.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from refconv.config import checked_map_size
from refconv.errors import SettingError

Sizes = Sequence[int]  #: One number for each spatial dimension
_CHUNK = 2**19  #: Numbers that a chunk may hold beside the kernels; chosen so that they stay in a processor's cache
_WIDE = 256  #: Grams of more taps than this are not formed where patches have fewer rows than taps


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


def damped_grams(blocks: Tensor, kernel_size: Sizes, map_size: Sizes, damping: float = 0.0) -> Tensor:
    """Return the damped Grams G~ [b, k, k], with the patches of a chunk of slices at a time."""
    b, m, k = blocks.shape
    found = torch.empty(b, k, k, dtype=blocks.dtype, device=blocks.device)
    for part in chunks(b, prod(map_size) * m * k):
        first, *others = (
            gram(patches(blocks[part, own], kernel_size, map_size)) for own in slices_of(blocks, map_size)
        )
        found[part] = sum(others, first)
    if damping != 0:
        found.diagonal(dim1=1, dim2=2).add_(added(blocks, kernel_size, map_size, damping)[:, 0])
    return found


def mean_eigenvalue(blocks: Tensor, kernel_size: Sizes, map_size: Sizes, damping: float = 0.0) -> Tensor:
    """Return the mean eigenvalue [b] of the damped Gram, (1 + damping) trace(G) / k, without patches or Gram.

    The trace is the sum of all squared patch entries, and the tap at position x of a slice enters P once for
    every shift that keeps it inside the kernel. That number is a product over dimensions.
    """
    visits = torch.ones(1, dtype=blocks.dtype, device=blocks.device)
    for taps, size in zip(kernel_size, map_size, strict=True):
        reach = (size - 1) // 2
        counts = [min(x + reach, taps - 1) - max(x - reach, 0) + 1 for x in range(taps)]
        visits = (visits[:, None] * torch.tensor(counts, dtype=blocks.dtype, device=blocks.device)).reshape(-1)
    return (blocks.square() * visits).sum((1, 2)) / blocks.shape[-1] * (1 + damping)


def added(blocks: Tensor, kernel_size: Sizes, map_size: Sizes, damping: float) -> Tensor:
    """Return what damping adds to every eigenvalue of the Gram, damping * l [b, 1, 1]."""
    return damping * mean_eigenvalue(blocks, kernel_size, map_size)[:, None, None]


@dataclass(frozen=True)
class Spectrum:
    """Eigenvalues of the damped Grams of blocks, and as many eigenvectors as it takes.

    Where patches have many fewer rows than taps, r is the number of rows, and every direction beyond the r
    eigenvectors has the eigenvalue that damping gives it.
    """

    values: Tensor  #: [b, r]
    vectors: Tensor  #: [b, k, r]
    beyond: Tensor  #: [b, 1], zero where there are k eigenvectors

    @staticmethod
    def of_grams(grams: Tensor) -> Spectrum:
        """Return the spectrum of Grams [b, k, k]."""
        values, vectors = torch.linalg.eigh(grams)
        return Spectrum(values, vectors, torch.zeros_like(values[:, :1]))

    @staticmethod
    def of(blocks: Tensor, kernel_size: Sizes, map_size: Sizes, damping: float = 0.0) -> Spectrum:
        """Return the spectrum of the damped Grams of blocks, from the Grams or from the patches."""
        if not is_wide(blocks, map_size):
            return Spectrum.of_grams(damped_grams(blocks, kernel_size, map_size, damping))
        return Spectrum.of_patches(patches(blocks, kernel_size, map_size), damping)

    @staticmethod
    def of_patches(patches: Tensor, damping: float) -> Spectrum:
        """Return the spectrum that patches of fewer rows than taps have, by their singular values."""
        _, roots, vectors = torch.linalg.svd(patches, full_matrices=False)
        beyond = damping * roots.square().sum(-1, keepdim=True) / patches.shape[-1]
        return Spectrum(roots.square() + beyond, vectors.mT, beyond)

    def powers(self, exponent: float) -> tuple[Tensor, Tensor]:
        """Return the eigenvalues to a power, those of the eigenvectors [b, r] and the one beyond them [b, 1].

        Eigenvalues that are zero to rounding keep a power of zero under negative exponents (the pseudo-inverse), so
        directions that the base does not span stay untouched.
        """
        largest = self.values.amax(-1, keepdim=True).clamp(min=0)
        floor = largest * self.vectors.shape[1] * torch.finfo(self.values.dtype).eps
        alive, reached = self.values > floor, self.beyond > floor
        within = torch.where(alive, torch.where(alive, self.values, 1).pow(exponent), 0)
        return within, torch.where(reached, torch.where(reached, self.beyond, 1).pow(exponent), 0)

    def matrix(self, exponent: float) -> Tensor:
        """Return the symmetric matrix power G~^exponent [b, k, k]."""
        within, beyond = self.powers(exponent)
        power: Tensor = (self.vectors * (within - beyond)[:, None, :]) @ self.vectors.mT
        if self.values.shape[1] < self.vectors.shape[1]:
            power.diagonal(dim1=1, dim2=2).add_(beyond)
        return power

    def times(self, rows: Tensor, exponent: float) -> Tensor:
        """Return rows [b, ..., k] times G~^exponent, without the matrix where it would be large."""
        if self.values.shape[1] == self.vectors.shape[1]:
            return rows @ self.matrix(exponent)
        within, beyond = self.powers(exponent)
        along = (rows @ self.vectors) * (within - beyond)[:, None, :]
        return rows * beyond[:, None, :] + along @ self.vectors.mT

    def mean(self, exponent: float) -> Tensor:
        """Return the mean eigenvalue [b] of G~^exponent."""
        (within, beyond), k = self.powers(exponent), self.vectors.shape[1]
        return (within.sum(-1) + (k - within.shape[1]) * beyond[:, 0]) / k


def gram_power(grams: Tensor, exponent: float) -> Tensor:
    """Return the symmetric matrix power G^exponent [b, k, k] of positive semidefinite Grams.

    Eigenvalues that are zero to rounding stay zero under negative exponents (:meth:`Spectrum.powers`).
    """
    return Spectrum.of_grams(grams).matrix(exponent)


def shaped_patches(patches: Tensor, power: float, damping: float = 0.0) -> Tensor:
    """Return P~' = P~ G~^((power - 1) / 2) of patches P, whose Gram is G~^power.

    It has the m * t rows of P, and with damping k more. Power 1 leaves P~ as it is; 0 makes its columns orthonormal.
    """
    k = patches.shape[-1]
    if power != 1 and patches.shape[1] < k and k > _WIDE:
        spectrum, exponent = Spectrum.of_patches(patches, damping), (power - 1) / 2
        shaped = spectrum.times(patches, exponent)
        if damping == 0:
            return shaped
        return torch.cat([shaped, spectrum.beyond.sqrt()[:, :, None] * spectrum.matrix(exponent)], 1)
    if damping != 0:
        root = (damping * patches.square().sum((1, 2), keepdim=True) / k).sqrt()
        patches = torch.cat([patches, root * torch.eye(k, dtype=patches.dtype, device=patches.device)], 1)
    return patches if power == 1 else patches @ gram_power(gram(patches), (power - 1) / 2)


def is_wide(blocks: Tensor, map_size: Sizes) -> bool:
    """Return whether patches have fewer rows than taps and so many taps that Grams would be large."""
    _, m, k = blocks.shape
    return m * prod(map_size) < k and k > _WIDE


def slices_of(blocks: Tensor, map_size: Sizes) -> Iterator[slice]:
    """Cut the slices of a block into runs whose patches fill a chunk, where a sum over slices is taken."""
    _, m, k = blocks.shape
    return chunks(m, prod(map_size) * k)


def chunks(blocks: int, numbers_per_block: int) -> Iterator[slice]:
    """Cut a number of blocks into runs that need at most a chunk's numbers each, or are single blocks."""
    size = max(1, _CHUNK // numbers_per_block)
    for first in range(0, blocks, size):
        yield slice(first, first + size)
