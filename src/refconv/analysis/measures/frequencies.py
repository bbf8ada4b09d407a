"""Kernels by frequency: how smooth they are, and how much the convolution enlarges what it is given.

Smoothness, of the slices s [k taps] of a layer. Total variation, over all pairs of taps that are neighbours along a
dimension, free of scale:

    variation = sum over slices and neighbours |s[y] - s[y']| / sum over slices and taps |s[y]|.

Frequency balance: with S(f) = sum_y s[y] exp(-2 pi i f y) for f in [-1/2, 1/2]^d, the share of the energy outside of
|f| <= 1/4 in every dimension. The energy inside is a quadratic form, so that no grid of frequencies is needed:

    integral over |f| <= 1/4 of |S(f)|^2 = s^T L s,    L[y, y'] = product over dimensions of sinc((y - y') / 2) / 2

with sinc(x) = sin(pi x) / (pi x); the whole energy is s^T s (Parseval). White noise has 1 - 2^-d above.

Norms. A convolution with circular padding on N positions per dimension is, per frequency f = j / N, the matrix
A(f) [out, in] of the Fourier transforms of its slices, so its spectral norm is the largest singular value of any A(f)
(Sedghi, Gupta and Long, ICLR 2019, arXiv 1805.10408). With zero padding, any stride or dilation and on any size,
Schur's test bounds it:

    norm <= sqrt(max over out of sum over in, taps |w| * max over in of sum over out, taps |w|).

Padding by reflection or replication may exceed the bound.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refconv.analysis.batches import check_least
from refconv.analysis.pairs import Kernel, pair_kernels
from refconv.layers import Selection
from refconv.measures.frequencies import (
    KernelSmoothness,
    LayerNorms,
    LayerSmoothness,
    OperatorNorm,
    Smoothness,
    SpectralNorms,
)

_NUMBERS = 2**23  # complex numbers of the matrices that are there at a time
_EXACT = 3  # frequencies whose singular values are taken, those with the largest estimates
_SMALL = 16  # channels of a group up to which the singular values of all frequencies are taken
_STEPS = 6  # of the power iteration that estimates the others


def kernel_smoothness(
    before: nn.Module, after: nn.Module, *, include: Selection = None, exclude: Selection = None
) -> Smoothness:
    """Measure total variation and frequency balance of the kernels of two models.

    Example:
        >>> model = nn.Conv1d(1, 1, 3)
        >>> model.weight = nn.Parameter(torch.tensor([[[1.0, 2.0, 1.0]]]))
        >>> kernel_smoothness(model, model).layers[0].after.variation
        0.5
    """
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        noise = 1 - 0.5 ** len(pair.before.image_shape)
        sides = (_smooth(kernel) for kernel in (pair.before, pair.after))
        rows.append(LayerSmoothness(pair.layer, pair.kind, pair.before.kernel_size, noise, *sides))
    return Smoothness(tuple(rows))


def spectral_norms(
    before: nn.Module, after: nn.Module, *, include: Selection = None, exclude: Selection = None, size: int = 8
) -> SpectralNorms:
    """Measure the spectral norm of each convolution of two models, and bound it.

    Of layers with more than 16 channels a group, singular values are taken at the three frequencies where a
    power iteration finds the largest ones.

    Args:
        size: positions per dimension of the circular padding; at least the taps of a kernel are taken.

    Example:
        >>> model = nn.Conv2d(1, 1, 3, bias=False)
        >>> _ = nn.init.constant_(model.weight, 1.0)
        >>> found = spectral_norms(model, model).layers[0].after
        >>> round(found.norm, 6), found.bound
        (9.0, 9.0)
    """
    check_least(1, size=size)
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        sides = (OperatorNorm(_norm(kernel, size), _bound(kernel)) for kernel in (pair.before, pair.after))
        rows.append(LayerNorms(pair.layer, pair.kind, *sides))
    return SpectralNorms(tuple(rows), size)


def low_pass(taps: int) -> Tensor:
    """Return L [taps, taps]: s^T L s is the energy of taps s at frequencies up to a quarter of a cycle a tap.

    Example:
        >>> low_pass(2).tolist()[0][0], round(low_pass(2).tolist()[0][1] * math.pi, 6)
        (0.5, 1.0)
    """
    places = torch.arange(taps, dtype=torch.float64)
    return torch.sinc((places[:, None] - places) / 2) / 2


def _smooth(kernel: Kernel) -> KernelSmoothness:
    slices = kernel.slices
    images = slices.reshape(-1, *(kernel.image_shape or (1,)))
    whole, energy = float(slices.abs().sum()), float(slices.square().sum())
    if not energy:
        return KernelSmoothness(None, None)
    differences = sum(float(images.diff(dim=axis).abs().sum()) for axis in range(1, images.ndim))
    low = images
    for axis, taps in enumerate(kernel.image_shape, start=1):
        low = torch.tensordot(low, low_pass(taps), dims=([axis], [0])).movedim(-1, axis)
    return KernelSmoothness(differences / whole, 1 - float((low * images).sum()) / energy)


def _matrices(kernel: Kernel) -> Tensor:
    """Return the slices as [groups, out per group, in per group, *kernel_size], groups of every expert."""
    layout = kernel.layout
    return kernel.slices.reshape(-1, layout.out_per_group, layout.in_per_group, *layout.kernel_size)


def _bound(kernel: Kernel) -> float:
    sums = _matrices(kernel).abs().flatten(3).sum(3)
    return float((sums.sum(2).amax(1) * sums.sum(1).amax(1)).amax().sqrt())


def _norm(kernel: Kernel, size: int) -> float:
    """Return the largest singular value over all groups and over the frequencies of a grid."""
    slices, waves = _matrices(kernel).flatten(3).to(torch.complex128), _waves(kernel.kernel_size, size)
    parts = waves.split(max(1, _NUMBERS // slices[..., 0].numel()))
    if min(slices.shape[1:3]) <= _SMALL:
        return max(_largest(torch.einsum("fk,goik->fgoi", part, slices)) for part in parts)
    found = torch.cat([_estimates(torch.einsum("fk,goik->fgoi", part, slices)) for part in parts])
    best = found.flatten().topk(min(_EXACT, found.numel())).indices
    of, group = best // len(slices), best % len(slices)
    return _largest(torch.einsum("fk,foik->foi", waves[of], slices[group]))


def _waves(kernel_size: Sequence[int], size: int) -> Tensor:
    """Return exp(-2 pi i f y) [frequencies, taps] of a grid, half of it along the last dimension: kernels are real."""
    found = torch.ones(1, 1, dtype=torch.complex128)
    for place, taps in enumerate(kernel_size, start=1):
        count = max(size, taps) if taps > 1 else 1
        kept = count // 2 + 1 if place == len(kernel_size) else count
        phases = torch.outer(torch.arange(kept), torch.arange(taps)).double() * (-2 * math.pi / count)
        found = torch.kron(found, torch.polar(torch.ones_like(phases), phases))
    return found


def _largest(matrices: Tensor) -> float:
    """Return the largest singular value of matrices [..., out, in]."""
    if min(matrices.shape[-2:]) == 1:
        return float(matrices.flatten(-2).norm(dim=-1).amax())
    return float(torch.linalg.svdvals(matrices).amax())


def _estimates(matrices: Tensor) -> Tensor:
    """Return lower bounds of the largest singular values of matrices [..., out, in], by a power iteration."""
    generator = torch.Generator().manual_seed(0)
    single = matrices.to(torch.complex64)
    vectors = torch.randn(matrices.shape[-1], 2, generator=generator).to(single).expand(*matrices.shape[:-2], -1, -1)
    for _ in range(_STEPS):
        vectors = torch.linalg.qr(((single @ vectors).mH @ single).mH).Q
    found: Tensor = (single @ vectors).norm(dim=-2).amax(-1)
    return found
