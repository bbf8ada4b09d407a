"""Kernels tap by tap: the same slices of two models for pictures, and how much of a kernel lies on its central cross.

Skeletons are those of ACNet (Ding et al., ICCV 2019, arXiv 1908.03930, section 4.3): the magnitudes of a layer's slices
are averaged tap by tap and divided by the largest of these averages,

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

from refconv.analysis.batches import check_least
from refconv.analysis.pairs import Kernel, pair_kernels, rounded, sampled
from refconv.layers import Selection
from refconv.measures.kernels import KernelSamples, LayerKernels, LayerSkeleton, SizeSkeleton, Skeletons, TapMagnitudes


def kernels(
    before: nn.Module,
    after: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    shown: int = 64,
    seed: int = 0,
) -> KernelSamples:
    """Return the same slices of two models, for pictures, each tap to four significant digits.

    Args:
        shown: slices of a layer at most.

    Example:
        >>> model = nn.Conv1d(1, 2, 3, bias=False)
        >>> model.weight = nn.Parameter(torch.tensor([[[1.0, 2.0, 3.0]], [[0.0, 1 / 3, 0.0]]]))
        >>> kernels(model, model).layers[0].after
        ((1.0, 2.0, 3.0), (0.0, 0.3333, 0.0))
    """
    check_least(1, shown=shown)
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        count = len(pair.before.slices)
        chosen = sampled(count, shown, seed)
        sides = (rounded(kernel.slices[chosen]) for kernel in (pair.before, pair.after))
        rows.append(LayerKernels(pair.layer, pair.kind, pair.before.kernel_size, count, tuple(chosen.tolist()), *sides))
    return KernelSamples(tuple(rows), shown, seed)


def skeletons(
    before: nn.Module, after: nn.Module, *, include: Selection = None, exclude: Selection = None
) -> Skeletons:
    """Measure the kernel skeletons of two models.

    Example:
        >>> model = nn.Conv2d(1, 1, 3)
        >>> cross = torch.tensor([[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]])
        >>> model.weight = nn.Parameter(cross.reshape(1, 1, 3, 3))
        >>> skeletons(model, model).layers[0].after.ratio
        2.4
    """
    rows = [
        LayerSkeleton(pair.layer, pair.kind, pair.before.kernel_size, _of_kernel(pair.before), _of_kernel(pair.after))
        for pair in pair_kernels(before, after, include, exclude)
    ]
    ratios = [(row.before.ratio, row.after.ratio) for row in rows if row.before and row.after]
    grown = [last > first for first, last in ratios if first is not None and last is not None]
    return Skeletons(tuple(rows), _by_size(rows), sum(grown) / len(grown) if grown else None)


def central_cross(kernel_size: Sequence[int]) -> Tensor:
    """Return which taps of a kernel lie on its central cross, as a mask of the kernel's shape."""
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
        all_magnitudes = ([side.magnitudes for side in layers] for layers in zip(*pairs, strict=True))
        sides = (torch.tensor(magnitudes, dtype=torch.float64).mean(0) for magnitudes in all_magnitudes)
        found.append(SizeSkeleton(size, len(pairs), *(_described(side, size) for side in sides)))
    return tuple(found)
