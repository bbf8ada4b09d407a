"""The metric that refocusing puts on kernels: a gradient g by the kernel becomes g G, with the Gram G = P^T P.

Formula (2) of docs/math.md, by three routes (docs/math.md, "Routes", says which is quicker where). Where blocks hold
many slices, G is small beside the kernels and ``g @ G`` is one product. Where they hold one or a few, G would be
larger than the kernels; there g G = (g P^T) P is computed in chunks, by convolutions over the slices or by products
with their patches, so that nothing larger than a chunk is ever stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor

from refconv.config import Scale
from refconv.ops.refocusing import CONVOLVE, refocus_adjoint, refocus_by_convolution, refocus_by_patches
from refconv.ops.scale import chunks, scaling
from refconv.ops.unfolding import gram, gram_power, patches, shaped_patches


def metric_gram(
    blocks: Tensor, kernel_size: Sequence[int], map_size: Sequence[int], *, scale: Scale = "paper", power: float = 1.0
) -> Tensor:
    """Return the matrix [b, k, k] that multiplies gradients: G^power / c_S^2.

    Args:
        blocks: base B [b, m, k].
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
        scale: see :func:`refconv.ops.scaling`.
        power: of the Gram; directions that the base does not span stay at zero.
    """
    b, m, k = blocks.shape
    grams = torch.empty(b, k, k, dtype=blocks.dtype, device=blocks.device)
    for part in chunks(b, prod(map_size) * m * k):
        found = gram(patches(blocks[part], kernel_size, map_size))
        grams[part] = found if power == 1 else gram_power(found, power)
    if scale != "paper":
        grams /= scaling(blocks, kernel_size, map_size, scale=scale, power=power).root.square()
    return grams


def apply_gram(gradient: Tensor, grams: Tensor) -> Tensor:
    """Return g G [b, m, k] for gradients g [b, m, k] by the kernel and matrices G [b, k, k]."""
    return gradient @ grams


def apply_gram_by_convolution(
    gradient: Tensor, blocks: Tensor, kernel_size: Sequence[int], map_size: Sequence[int], root: Tensor | None = None
) -> Tensor:
    """Return g G / c_S^2 [b, m, k] as (g P^T) P, without forming P or G.

    Args:
        gradient: g [b, m, k] by the kernel.
        blocks: base B [b, m, k].
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
        root: c_S [b, 1, 1]; None where it is one.
    """
    b, m, _ = blocks.shape
    out = torch.empty_like(gradient)
    for part in chunks(b, m * m * prod(map_size)):
        weight = adjoint_by_convolution(gradient[part], blocks[part], kernel_size, map_size)
        if root is not None:
            weight = weight.div_(root[part]).div_(root[part])  # the square of a root may overflow
        out[part] = refocus_by_convolution(weight, blocks[part], kernel_size, map_size)
    return out


def apply_gram_by_patches(
    gradient: Tensor, blocks: Tensor, kernel_size: Sequence[int], map_size: Sequence[int], root: Tensor | None = None
) -> Tensor:
    """Return g G / c_S^2 [b, m, k] as (g P^T) P, with P of a chunk of blocks at a time.

    Args:
        gradient: g [b, m, k] by the kernel.
        blocks: base B [b, m, k].
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
        root: c_S [b, 1, 1]; None where it is one.
    """
    b, m, k = blocks.shape
    out = torch.empty_like(gradient)
    for part in chunks(b, prod(map_size) * m * k):
        unfolded = patches(blocks[part], kernel_size, map_size)
        if root is not None:
            unfolded = unfolded / root[part]
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
    scale: Scale = "paper",
    power: float = 1.0,
) -> Tensor:
    """Return the refocus weight R [b, m, m * t] of least norm with R P / c_A = displacement, as far as P reaches it.

    R = c_A D P^+ = c_A D G^+ P^T, block by block. A refocus weight that gradient descent trained from zero is a
    combination of rows of P^T, so it is this one.

    Args:
        displacement: D = kernel - base [b, m, k].
        blocks: base B [b, m, k].
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
        scale: as in training.
        power: as in training.
    """
    b, m, k = blocks.shape
    weight = torch.empty(b, m, m * prod(map_size), dtype=blocks.dtype, device=blocks.device)
    for part in chunks(b, prod(map_size) * m * k):
        unfolded = patches(blocks[part], kernel_size, map_size)
        inverse = gram_power(gram(unfolded), -(power + 1) / 2)  # (P G^((p-1)/2))^+ = G^(-(p+1)/2) P^T
        weight[part] = refocus_adjoint(displacement[part] @ inverse, unfolded)
    if scale != "paper":
        weight *= scaling(blocks, kernel_size, map_size, scale=scale, power=power).sign
    return weight


def refocused_blocks(
    weight: Tensor,
    blocks: Tensor,
    kernel_size: Sequence[int],
    map_size: Sequence[int],
    *,
    scale: Scale = "paper",
    power: float = 1.0,
) -> Tensor:
    """Return B + R P / c_A [b, m, k] for a refocus weight R [b, m, m * t], in chunks."""
    b, m, k = blocks.shape
    out = torch.empty_like(blocks)
    if scale != "paper":
        weight = weight / scaling(blocks, kernel_size, map_size, scale=scale, power=power).sign
    for part in chunks(b, prod(map_size) * m * k):
        unfolded = shaped_patches(patches(blocks[part], kernel_size, map_size), power)
        out[part] = blocks[part] + refocus_by_patches(weight[part], unfolded)
    return out
