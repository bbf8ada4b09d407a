"""The principal components that all slices of one kernel size share, and how far two models' slices are apart in them.

After CNN Filter DB (Gavrikov and Keuper, CVPR 2022, arXiv 2203.15331, section 4). Every slice is divided by its largest
absolute entry (slices of zeros stay), the slices of both models together are taken apart into principal components, and
the distribution shift is

    D = sum_i e_i (KL(P_i || Q_i) + KL(Q_i || P_i))                                                 (nats)

with e_i the explained variance ratio of component i and P_i, Q_i the histograms of the two models' coefficients along
it: 70 bins over the range of all coefficients, empty bins filled with 1.2e-7 (float32's epsilon), as in the notebook
that the paper points to.

Note [Chance]. Histograms of finite samples differ even where distributions do not, and empty bins weigh heavily:
networks of a few hundred slices reach shifts above 1 for no reason. ``chance`` is D after before and after were
exchanged for slices drawn at random, one in two: the shift if it made no difference to the distribution which model a
slice comes from. A shift near it says nothing.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refconv.analysis.pairs import KernelPair, pair_kernels, sampled
from refconv.layers import Selection
from refconv.measures.kernels import FilterComponents, SizeComponents

_BINS = 70
_EMPTY = torch.finfo(torch.float32).eps
# The most numbers that the slices of one kernel size and model may hold.
_MOST = 2**21
_EXCHANGES = 4


def filter_components(
    before: nn.Module,
    after: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    shown: int = 9,
    seed: int = 0,
) -> FilterComponents:
    """Measure what patterns the slices of two models share, and the shift between their distributions.

    Args:
        before: the first model, plain.
        after: the second, of the same architecture.
        include: layers to look at, as in :func:`refconv.layers.select`; by default all kernels of more than one tap.
        exclude: layers to leave out.
        shown: the most components to keep as patterns.
        seed: of the sample of slices where there are very many, and of the exchanges that chance is taken from.

    Raises:
        ModelError: if the models do not hold the same convolutions, or one of them cannot be measured.

    Example:
        >>> model = nn.Conv2d(8, 8, 3)
        >>> filter_components(model, model).sizes[0].shift
        0.0
    """
    groups: dict[tuple[int, ...], list[KernelPair]] = defaultdict(list)
    for pair in pair_kernels(before, after, include, exclude):
        groups[pair.before.kernel_size].append(pair)
    sizes = [_compared(size, pairs, shown, seed) for size, pairs in groups.items()]
    return FilterComponents(tuple(sorted(sizes, key=lambda row: -row.slices)), seed)


def scaled(slices: Tensor) -> Tensor:
    """Return slices [n, k], each divided by its largest absolute entry; slices of zeros stay."""
    largest = slices.abs().amax(-1, keepdim=True)
    return slices / torch.where(largest > 0, largest, 1)


def principal_components(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the explained variance ratios [k], descending, and the components [k, k] as rows, of rows [n, k].

    Without any variance all ratios are zero.
    """
    centred = rows - rows.mean(0)
    variances, vectors = torch.linalg.eigh(centred.mT @ centred)
    variances, components = variances.flip(0).clamp(min=0), vectors.mT.flip(0)
    signs = components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
    total = variances.sum()
    return variances / torch.where(total > 0, total, 1), components * signs


def shifts(first: Tensor, second: Tensor, low: float, high: float) -> Tensor:
    """Return KL(P_i || Q_i) + KL(Q_i || P_i) [k] of the histograms of coefficients [n, k] and [m, k], in nats.

    Args:
        first: coefficients of one set of slices.
        second: of another.
        low: where the first bin begins.
        high: where the last bin ends.
    """
    p, q = (_histograms(coefficients, low, high) for coefficients in (first, second))
    return ((p - q) * (p / q).log()).sum(-1)


def _histograms(coefficients: Tensor, low: float, high: float) -> Tensor:
    """Distributions [k, bins] of coefficients [n, k], as densities whose empty bins hold a little."""
    k = coefficients.shape[1]
    width = (high - low) / _BINS or 1.0
    at = ((coefficients - low) / width).long().clamp(0, _BINS - 1) + _BINS * torch.arange(k)
    counts = at.reshape(-1).bincount(minlength=_BINS * k).reshape(k, _BINS).double()
    densities = counts / len(coefficients) / width
    densities = torch.where(counts > 0, densities, _EMPTY)
    return densities / densities.sum(-1, keepdim=True)


def _compared(size: tuple[int, ...], pairs: Sequence[KernelPair], shown: int, seed: int) -> SizeComponents:
    taps = pairs[0].before.layout.taps
    counts = [len(pair.before.slices) for pair in pairs]
    chosen = sampled(sum(counts), max(_MOST // taps, 2), seed)
    parts, start = [], 0
    for pair, count in zip(pairs, counts, strict=True):
        rows = chosen[(chosen >= start) & (chosen < start + count)] - start
        parts.append((pair.before.slices[rows], pair.after.slices[rows]))
        start += count
    first, second = (scaled(torch.cat(side)) for side in zip(*parts, strict=True))
    both = torch.cat([first, second])
    explained, components = principal_components(both)
    coefficients = (both - both.mean(0)) @ components.mT
    low, high = float(coefficients.min()), float(coefficients.max())
    n = len(first)
    before, after = coefficients[:n], coefficients[n:]
    per_component = shifts(before, after, low, high)
    generator = torch.Generator().manual_seed(seed)
    by_chance = []
    for _ in range(_EXCHANGES):
        exchanged = torch.rand(n, 1, generator=generator) < 0.5
        sides = torch.where(exchanged, after, before), torch.where(exchanged, before, after)
        by_chance.append(float((explained * shifts(*sides, low, high)).sum()))
    return SizeComponents(
        kernel_size=size,
        layers=len(pairs),
        slices=sum(counts),
        sampled=n,
        explained_before=tuple(principal_components(first)[0].tolist()),
        explained_after=tuple(principal_components(second)[0].tolist()),
        explained=tuple(explained.tolist()),
        components=tuple(tuple(component) for component in components[:shown].tolist()),
        shift=float((explained * per_component).sum()),
        shift_of_components=tuple(per_component.tolist()),
        chance=sum(by_chance) / _EXCHANGES,
    )
