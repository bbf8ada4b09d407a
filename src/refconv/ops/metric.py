"""The metric that refocusing puts on kernels: a gradient g by the kernel becomes g G, with the Gram G = P^T P.

Formula (2) of docs/math.md, by three routes (docs/math.md, "Routes", says which is quicker where). Where blocks hold
many slices, G is small beside the kernels and ``g @ G`` is one product. Where they hold one or a few, G would be
larger than the kernels; there g G = (g P^T) P is computed in chunks, by convolutions over the slices or by products
with their patches, so that nothing larger than a chunk is ever stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import prod

import torch
from torch import Tensor

from refconv.ops.patches import gram, gram_power, normalizing_scale, patches, shaped_patches
from refconv.ops.refocusing import CONVOLVE, refocus_adjoint, refocus_by_convolution, refocus_by_patches

# Numbers that a chunk may hold beside the kernels; chosen so that they stay in a processor's cache.
_CHUNK = 2**19


def metric_gram(
    blocks: Tensor, kernel_size: Sequence[int], map_size: Sequence[int], *, normalize: bool = False, power: float = 1.0
) -> Tensor:
    """Return the matrix [b, k, k] that multiplies gradients: G, with its scale and power.

    Args:
        blocks: base B [b, m, k].
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
        normalize: bring the mean eigenvalue of each block's G to one.
        power: return G^power; directions that the base does not span stay at zero.
    """
    b, m, k = blocks.shape
    grams = torch.empty(b, k, k, dtype=blocks.dtype, device=blocks.device)
    for part in _chunks(b, prod(map_size) * m * k):
        found = gram(_source_patches(blocks[part], kernel_size, map_size, normalize=normalize))
        grams[part] = found if power == 1 else gram_power(found, power)
    return grams


def apply_gram(gradient: Tensor, grams: Tensor) -> Tensor:
    """Return g G [b, m, k] for gradients g [b, m, k] by the kernel and matrices G [b, k, k]."""
    return gradient @ grams


def apply_gram_by_convolution(
    gradient: Tensor, blocks: Tensor, kernel_size: Sequence[int], map_size: Sequence[int]
) -> Tensor:
    """Return g G [b, m, k] as (g P^T) P, without forming P or G.

    Args:
        gradient: g [b, m, k] by the kernel.
        blocks: base B [b, m, k], already scaled where the base is to be normalized.
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
    """
    b, m, _ = blocks.shape
    out = torch.empty_like(gradient)
    for part in _chunks(b, m * m * prod(map_size)):
        weight = adjoint_by_convolution(gradient[part], blocks[part], kernel_size, map_size)
        out[part] = refocus_by_convolution(weight, blocks[part], kernel_size, map_size)
    return out


def apply_gram_by_patches(
    gradient: Tensor, blocks: Tensor, kernel_size: Sequence[int], map_size: Sequence[int]
) -> Tensor:
    """Return g G [b, m, k] as (g P^T) P, with P of a chunk of blocks at a time.

    Args:
        gradient: g [b, m, k] by the kernel.
        blocks: base B [b, m, k], already scaled where the base is to be normalized.
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
    """
    b, m, k = blocks.shape
    out = torch.empty_like(gradient)
    for part in _chunks(b, prod(map_size) * m * k):
        unfolded = patches(blocks[part], kernel_size, map_size)
        out[part] = refocus_by_patches(refocus_adjoint(gradient[part], unfolded), unfolded)
    return out


def adjoint_by_convolution(
    gradient: Tensor, blocks: Tensor, kernel_size: Sequence[int], map_size: Sequence[int]
) -> Tensor:
    """Return g P^T [b, m, m * t] as one grouped convolution of the base's slices with the gradient's.

    Entry (i, (j, d)) is the correlation of slice j of the base, shifted by tap d, with slice i of the gradient:
    slices j are the batch of that convolution, blocks its groups, and slices i the outputs of a group.

    Args:
        gradient: g [b, m, k] by the kernel.
        blocks: base B [b, m, k].
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
    """
    b, m, _ = blocks.shape
    images = blocks.transpose(0, 1).reshape(m, b, *kernel_size)
    filters = gradient.reshape(b * m, 1, *kernel_size)
    padding = [(size - 1) // 2 for size in map_size]
    found = CONVOLVE[len(kernel_size)](images, filters, padding=padding, groups=b)
    return found.reshape(m, b, m, -1).permute(1, 2, 0, 3).reshape(b, m, -1)


def smallest_refocus_weight(
    displacement: Tensor,
    blocks: Tensor,
    kernel_size: Sequence[int],
    map_size: Sequence[int],
    *,
    normalize: bool = False,
    power: float = 1.0,
) -> Tensor:
    """Return the refocus weight R [b, m, m * t] of least norm with R P = displacement, as far as P reaches it.

    R = D P^+ = D G^+ P^T, block by block. A refocus weight that gradient descent trained from zero is a
    combination of rows of P^T, so it is this one.

    Args:
        displacement: D = kernel - base [b, m, k].
        blocks: base B [b, m, k].
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
        normalize: as in training.
        power: as in training.
    """
    b, m, k = blocks.shape
    weight = torch.empty(b, m, m * prod(map_size), dtype=blocks.dtype, device=blocks.device)
    for part in _chunks(b, prod(map_size) * m * k):
        unfolded = _source_patches(blocks[part], kernel_size, map_size, normalize=normalize)
        inverse = gram_power(gram(unfolded), -(power + 1) / 2)  # (P G^((p-1)/2))^+ = G^(-(p+1)/2) P^T
        weight[part] = refocus_adjoint(displacement[part] @ inverse, unfolded)
    return weight


def refocused_blocks(
    weight: Tensor,
    blocks: Tensor,
    kernel_size: Sequence[int],
    map_size: Sequence[int],
    *,
    normalize: bool = False,
    power: float = 1.0,
) -> Tensor:
    """Return B + R P [b, m, k] for a refocus weight R [b, m, m * t], in chunks."""
    b, m, k = blocks.shape
    out = torch.empty_like(blocks)
    for part in _chunks(b, prod(map_size) * m * k):
        unfolded = shaped_patches(_source_patches(blocks[part], kernel_size, map_size, normalize=normalize), power)
        out[part] = blocks[part] + refocus_by_patches(weight[part], unfolded)
    return out


def _source_patches(blocks: Tensor, kernel_size: Sequence[int], map_size: Sequence[int], *, normalize: bool) -> Tensor:
    if normalize:
        blocks = blocks * normalizing_scale(blocks, kernel_size, map_size)
    return patches(blocks, kernel_size, map_size)


def _chunks(blocks: int, numbers_per_block: int) -> Iterator[slice]:
    """Cut a number of blocks into runs that need at most a chunk's numbers each, or are single blocks."""
    size = max(1, _CHUNK // numbers_per_block)
    for first in range(0, blocks, size):
        yield slice(first, first + size)
