"""Refocusing, kernel = base + R P, and the metric that it puts on kernels: a gradient g by the kernel becomes g G.

These are formulas (1) and (2) of docs/math.md, with the Gram G = P^T P. Each has several routes; "Routes" there says
which is quicker where. Patches P and Grams G serve blocks of many slices, whose Grams are small beside the kernels.
For blocks of one or a few slices, R P and g G = (g P^T) P are computed by convolutions or in chunks, so that nothing
larger than a chunk is stored.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from refconv.config import Scale
from refconv.ops.grams import (
    Sizes,
    Spectrum,
    added,
    chunks,
    damped_grams,
    gram_power,
    is_wide,
    mean_eigenvalue,
    patches,
    shaped_patches,
)
from refconv.ops.scales import scaling

_CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def refocus_by_patches(weight: Tensor, patches: Tensor) -> Tensor:
    """Return R P [b, m, k] as a batched product; for one block as a plain one, whose derivative is quicker."""
    if len(weight) == 1:
        return (weight.flatten(0, 1) @ patches.flatten(0, 1)).unsqueeze(0)
    return weight @ patches


def refocus_by_convolution(weight: Tensor, blocks: Tensor, kernel_size: Sizes, map_size: Sizes) -> Tensor:
    """Return R P [b, m, k] as one grouped convolution over the flattened slices, as the paper writes it.

    The blocks are laid out as a single image of b * m channels; every block is a group of that convolution.
    """
    b, m, k = blocks.shape
    image = blocks.reshape(1, b * m, *kernel_size)
    maps = weight.reshape(b * m, m, *map_size)
    padding = [(size - 1) // 2 for size in map_size]
    return _CONVOLVE[len(kernel_size)](image, maps, padding=padding, groups=b).reshape(b, m, k)


def refocus_adjoint(gradient: Tensor, patches: Tensor) -> Tensor:
    """Return g P^T [b, m, m * t], the gradient by the refocus weight."""
    return gradient @ patches.mT


def adjoint_by_convolution(gradient: Tensor, blocks: Tensor, kernel_size: Sizes, map_size: Sizes) -> Tensor:
    """Return g P^T [b, m, m * t] as one grouped convolution of the base's slices with the gradient's.

    Entry (i, (j, d)) is the correlation of slice j of the base, shifted by tap d, with slice i of the gradient:
    slices j are the batch of that convolution, blocks its groups, and slices i the outputs of a group.
    """
    b, m, _ = blocks.shape
    images = blocks.transpose(0, 1).reshape(m, b, *kernel_size)
    filters = gradient.reshape(b * m, 1, *kernel_size)
    padding = [(size - 1) // 2 for size in map_size]
    found = _CONVOLVE[len(kernel_size)](images, filters, padding=padding, groups=b)
    return found.reshape(m, b, m, -1).permute(1, 2, 0, 3).reshape(b, m, -1)


def metric_gram(
    blocks: Tensor,
    kernel_size: Sizes,
    map_size: Sizes,
    *,
    scale: Scale = "paper",
    power: float = 1.0,
    damping: float = 0.0,
) -> Tensor:
    """Return the matrix [b, k, k] that multiplies gradients, G~^power / c_S^2; zero where the base spans nothing."""
    sizes = kernel_size, map_size
    if is_wide(blocks, map_size):
        found = Spectrum.of(blocks, *sizes, damping).matrix(power)
    else:
        found = damped_grams(blocks, *sizes, damping)
        if power != 1:
            for part in chunks(len(blocks), found[0].numel()):
                found[part] = gram_power(found[part], power)
    if scale != "paper":
        found /= scaling(blocks, *sizes, scale=scale, power=power, damping=damping).root.square()
    return found


def metric_factors(
    blocks: Tensor, kernel_size: Sizes, map_size: Sizes, *, scale: Scale, power: float = 1.0, damping: float = 0.0
) -> tuple[Tensor, Tensor, Tensor]:
    """Return G~^power / c_S^2 as A^T diag(w) A + s I, for blocks whose patches have few rows: no matrix [k, k].

    Returns:
        A [b, r, k], the patches for power 1 and eigenvectors for others; w [b, 1, r]; s [b, 1, 1].
    """
    sizes = kernel_size, map_size
    squared = scaling(blocks, *sizes, scale=scale, power=power, damping=damping).root.square()
    if power == 1:
        factors = patches(blocks, *sizes)
        return factors, (1 / squared).expand(-1, 1, factors.shape[1]), added(blocks, *sizes, damping) / squared
    spectrum = Spectrum.of_patches(patches(blocks, *sizes), damping)
    within, beyond = spectrum.powers(power)
    return spectrum.vectors.mT, (within - beyond)[:, None, :] / squared, beyond[:, None, :] / squared


def mean_of_metric(
    blocks: Tensor, kernel_size: Sizes, map_size: Sizes, *, scale: Scale, power: float = 1.0, damping: float = 0.0
) -> Tensor:
    """Return the mean eigenvalue [b] of G~^power / c_S^2."""
    sizes = kernel_size, map_size
    own = mean_eigenvalue(blocks, *sizes, damping) if power == 1 else None
    mean = Spectrum.of(blocks, *sizes, damping).mean(power) if own is None else own
    if scale == "paper":
        return mean
    return mean / scaling(blocks, *sizes, scale=scale, power=power, damping=damping).root.square()[:, 0, 0]


def apply_gram(gradient: Tensor, grams: Tensor) -> Tensor:
    """Return g G [b, m, k] for matrices G [b, k, k]."""
    return gradient @ grams


def apply_gram_by_convolution(
    gradient: Tensor, blocks: Tensor, kernel_size: Sizes, map_size: Sizes, root: Tensor | None = None
) -> Tensor:
    """Return g G / c_S^2 [b, m, k] as (g P^T) P, without forming P or G."""
    b, m, _ = blocks.shape
    out = torch.empty_like(gradient)
    for part in chunks(b, m * m * prod(map_size)):
        weight = adjoint_by_convolution(gradient[part], blocks[part], kernel_size, map_size)
        if root is not None:
            weight = weight.div_(root[part]).div_(root[part])  # the square of a root may overflow
        out[part] = refocus_by_convolution(weight, blocks[part], kernel_size, map_size)
    return out


def apply_gram_by_patches(
    gradient: Tensor, blocks: Tensor, kernel_size: Sizes, map_size: Sizes, root: Tensor | None = None
) -> Tensor:
    """Return g G / c_S^2 [b, m, k] as (g P^T) P, with P of a chunk of blocks at a time."""
    b, m, k = blocks.shape
    out = torch.empty_like(gradient)
    for part in chunks(b, prod(map_size) * m * k):
        unfolded = patches(blocks[part], kernel_size, map_size)
        if root is not None:
            unfolded = unfolded / root[part]
        out[part] = refocus_by_patches(refocus_adjoint(gradient[part], unfolded), unfolded)
    return out


def smallest_refocus_weight(
    displacement: Tensor,
    blocks: Tensor,
    kernel_size: Sizes,
    map_size: Sizes,
    *,
    scale: Scale = "paper",
    power: float = 1.0,
    damping: float = 0.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Return the refocus weight R [b, m, m * t] of least norm with R P / c_A = D, as far as P reaches it.

    With damping R is [b, m, m * t + k]. R = c_A D P^+ = c_A D G^+ P^T for the displacement D = kernel - base
    [b, m, k], block by block. A refocus weight that gradient descent trained from zero is a combination of rows of P^T,
    so it is this one. With a ``mask`` M [b, m, k] of the entries that move, each slice sees the patches at its own:
    R_i = c_A D_i (M_i G M_i)^+ P^T.
    """
    sizes, (b, m, k) = (kernel_size, map_size), blocks.shape
    columns = m * prod(map_size) + (k if damping != 0 else 0)
    weight = torch.empty(b, m, columns, dtype=blocks.dtype, device=blocks.device)
    for part in chunks(b, m * k * max(prod(map_size), k if mask is not None else 0)):
        spectrum, inside = Spectrum.of(blocks[part], *sizes, damping), displacement[part]
        if mask is None:
            moved = spectrum.times(inside, -(power + 1) / 2)  # (P G^((p-1)/2))^+ = G^(-(p+1)/2) P^T
        else:
            own = mask[part].to(blocks.dtype)
            masked = own[..., None] * spectrum.matrix(power)[:, None] * own[..., None, :]  # [b, m, k, k]
            inverse = gram_power(masked.flatten(0, 1), -1)
            moved = ((inside * own).flatten(0, 1)[:, None] @ inverse).reshape(own.shape)
            if power != 1:
                moved = spectrum.times(moved, (power - 1) / 2)
        weight[part, :, : m * prod(map_size)] = refocus_adjoint(moved, patches(blocks[part], *sizes))
        if damping != 0:
            weight[part, :, m * prod(map_size) :] = added(blocks[part], *sizes, damping).sqrt() * moved
    if scale != "paper":
        weight *= scaling(blocks, *sizes, scale=scale, power=power, damping=damping).sign
    return weight


def refocused_blocks(
    weight: Tensor,
    blocks: Tensor,
    kernel_size: Sizes,
    map_size: Sizes,
    *,
    scale: Scale = "paper",
    power: float = 1.0,
    damping: float = 0.0,
) -> Tensor:
    """Return B + R P / c_A [b, m, k], in chunks."""
    b, m, k = blocks.shape
    out = torch.empty_like(blocks)
    if scale != "paper":
        weight = weight / scaling(blocks, kernel_size, map_size, scale=scale, power=power, damping=damping).sign
    for part in chunks(b, prod(map_size) * m * k):
        unfolded = shaped_patches(patches(blocks[part], kernel_size, map_size), power, damping)
        out[part] = blocks[part] + refocus_by_patches(weight[part], unfolded)
    return out
