"""Kernel skeletons: how much of a kernel's weight lies on its central cross.

After ACNet (Ding et al., ICCV 2019, arXiv 1908.03930, section 4.3): the magnitudes of a layer's slices are averaged tap
by tap and divided by the largest of these averages,

    A = M / max(M),      M[y] = mean over slices of |slice[y]|,

and over all layers of one kernel size these matrices are averaged again. The skeleton is the central cross:

* two dimensions: the central row and column; the corners are the rest (for 3 x 3, the four corners);
* three: the three central lines; one: the centre, against the ends.

Dimensions of one tap do not count (1 x 11 is one-dimensional). An even number of taps has two central ones, so 2 x 2
kernels are all skeleton and have no ratio.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refconv.analysis.pairs import Kernel, pair_kernels
from refconv.layers import Selection
from refconv.measures.kernels import LayerSkeleton, SizeSkeleton, Skeletons, TapMagnitudes


def skeletons(
    before: nn.Module, after: nn.Module, *, include: Selection = None, exclude: Selection = None
) -> Skeletons:
    """Measure the kernel skeletons of two models.

    Args:
        before: the first model, plain.
        after: the second, of the same architecture.
        include: layers to look at, as in :func:`refconv.layers.select`; by default all kernels of more than one tap.
        exclude: layers to leave out.

    Raises:
        ModelError: if the models do not hold the same convolutions, or one of them cannot be measured.

    Example:
        >>> model = nn.Conv2d(1, 1, 3)
        >>> cross = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
        >>> model.weight = nn.Parameter(cross.reshape(1, 1, 3, 3))
        >>> skeletons(model, model).layers[0].after.ratio
        2.4
    """
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        size = pair.before.kernel_size
        rows.append(LayerSkeleton(pair.layer, pair.kind, size, _of_kernel(pair.before), _of_kernel(pair.after)))
    grown = [
        row.after.ratio > row.before.ratio
        for row in rows
        if row.before and row.after and row.before.ratio is not None and row.after.ratio is not None
    ]
    return Skeletons(tuple(rows), _by_size(rows), sum(grown) / len(grown) if grown else None)


def central_cross(kernel_size: Sequence[int]) -> Tensor:
    """Return which taps of a kernel lie on its central cross, as a mask of the kernel's shape.

    Example:
        >>> central_cross((3, 3)).int().tolist()
        [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
        >>> central_cross((5,)).int().tolist()
        [0, 0, 1, 0, 0]
    """
    sizes = [taps for taps in kernel_size if taps > 1]
    allowed = 1 if len(sizes) > 1 else 0  # how many coordinates may be off the centre
    mask = torch.zeros(tuple(kernel_size), dtype=torch.bool)
    for position in itertools.product(*(range(taps) for taps in kernel_size)):
        off = sum(x not in ((taps - 1) // 2, taps // 2) for x, taps in zip(position, kernel_size, strict=True))
        mask[position] = off <= allowed
    return mask


def _of_kernel(kernel: Kernel) -> TapMagnitudes | None:
    magnitudes = kernel.slices.abs().mean(0)
    largest = magnitudes.max()
    return _described(magnitudes / largest, kernel.kernel_size) if largest > 0 else None


def _described(magnitudes: Tensor, kernel_size: Sequence[int]) -> TapMagnitudes:
    mask = central_cross(kernel_size).reshape(-1)
    cross = float(magnitudes[mask].mean())
    corners = None if bool(mask.all()) else float(magnitudes[~mask].mean())
    return TapMagnitudes(
        magnitudes=tuple(magnitudes.tolist()),
        cross=cross,
        corners=corners,
        ratio=cross / corners if corners else None,
        cross_share=float(magnitudes[mask].sum() / magnitudes.sum()),
    )


def _by_size(rows: Sequence[LayerSkeleton]) -> tuple[SizeSkeleton, ...]:
    groups = defaultdict[tuple[int, ...], list[tuple[TapMagnitudes, TapMagnitudes]]](list)
    for row in rows:
        if row.before is not None and row.after is not None:
            groups[row.kernel_size].append((row.before, row.after))
    found = []
    for size, pairs in sorted(groups.items(), key=lambda item: -len(item[1])):
        before, after = (_mean([pair[side] for pair in pairs], size) for side in (0, 1))
        found.append(SizeSkeleton(size, len(pairs), before, after))
    return tuple(found)


def _mean(layers: Sequence[TapMagnitudes], kernel_size: Sequence[int]) -> TapMagnitudes:
    return _described(torch.tensor([layer.magnitudes for layer in layers], dtype=torch.float64).mean(0), kernel_size)
