"""Patterns in the slices of two models: the principal components that they share, and Gaussians that fit them.

Components follow CNN Filter DB (Gavrikov and Keuper, CVPR 2022, arXiv 2203.15331, section 4). Every slice of one kernel
size is divided by its largest absolute entry (slices of zeros stay), the slices of both models together are taken apart
into principal components, and the distribution shift is

    D = sum_i e_i (KL(P_i || Q_i) + KL(Q_i || P_i))                                                 (nats)

with e_i the explained variance ratio of component i and P_i, Q_i the histograms of the two models' coefficients along
it: 70 bins over the range of all coefficients, empty bins filled with 1.2e-7 (float32's epsilon), as in the notebook
that the paper points to.

Note [Chance]. Histograms of finite samples differ even where distributions do not, and empty bins weigh heavily:
networks of a few hundred slices reach shifts above 1 for no reason. ``chance`` is D after before and after were
exchanged for slices drawn at random, one in two: the shift if it made no difference to the distribution which model a
slice comes from. A shift near it says nothing.

Gaussians follow Babaiee et al., Unveiling the Unseen: Identifiable Clusters in Trained Depthwise Convolutional Kernels
(ICLR 2024, arXiv 2401.14469), who sort trained depthwise kernels into a few clusters of this form: differences of
Gaussians and of their first and second derivatives. With two concentric Gaussians
G_1, G_2 of scales s_1 < s_2, u the coordinate along an orientation, and free amplitudes a_1, a_2 the three families are

    dog      a_1 G_1 + a_2 G_2              (a single Gaussian among them)
    first    a_1 dG_1/du + a_2 dG_2/du
    second   a_1 d2G_1/du2 + a_2 d2G_2/du2

Scales, centres and orientations lie on a grid; for each of its points the amplitudes are those of least squares, in
closed form. A kernel fits when what the best function leaves holds at most ``tolerance`` of its square sum.

Note [Another definition]. The paper trains an autoencoder and labels clusters; here the functions it names are fitted
directly. Shares are therefore comparable between models, not with the paper's 90 and 95 percent. ``chance`` says what
share of kernels of white noise passes the same test. A 3 x 3 kernel has nine numbers and such a function seven to
choose, so nearly all of them would fit: kernels under 5 x 5 are left out.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor, nn

from refconv.analysis.pairs import KernelPair, pair_kernels, sampled
from refconv.layers import Selection
from refconv.measures.filters import FAMILIES, GaussianFits, GaussianShares, LayerGaussians
from refconv.measures.kernels import FilterComponents, SizeComponents
from refconv.measures.tables import times

_BINS = 70
_EMPTY = torch.finfo(torch.float32).eps
_MOST = 2**21  # numbers that the slices of one kernel size and model may hold
_EXCHANGES = 4
_SMALLEST = 5
_FIRST_SCALE = 0.5
_SCALE_STEP = math.sqrt(2)
_CENTRES = tuple(step / 4 for step in range(-4, 5))
_ORIENTATIONS = 8
_NOISE = 512
_CHUNK = 256
_COST = 2 * 10**9  # multiplications that the fits of one layer may cost; larger layers are sampled


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
        shown: the most components to keep as patterns.

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
    """Return the explained variance ratios [k], descending, zero without variance, and the components [k, k]."""
    centred = rows - rows.mean(0)
    variances, vectors = torch.linalg.eigh(centred.mT @ centred)
    variances, components = variances.flip(0).clamp(min=0), vectors.mT.flip(0)
    signs = components.gather(1, components.abs().argmax(1, keepdim=True)).sign()
    total = variances.sum()
    return variances / torch.where(total > 0, total, 1), components * signs


def shifts(first: Tensor, second: Tensor, low: float, high: float) -> Tensor:
    """Return KL(P_i || Q_i) + KL(Q_i || P_i) [k] of histograms, from low to high, of coefficients [n, k] and [m, k]."""
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
    sides = zip(*((pair.before, pair.after) for pair in pairs), strict=True)
    first, second = (scaled(torch.cat([kernel.slices for kernel in side])[chosen]) for side in sides)
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
        mixed = torch.where(exchanged, after, before), torch.where(exchanged, before, after)
        by_chance.append(float((explained * shifts(*mixed, low, high)).sum()))
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


def gaussian_fits(
    before: nn.Module,
    after: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    tolerance: float = 0.2,
    seed: int = 0,
) -> GaussianFits:
    """Measure which depthwise kernels of two models differences of Gaussians or their derivatives fit.

    Args:
        tolerance: relative square residual up to which a kernel fits; 0.2 is a cosine of 0.89 with the fitted function.

    Example:
        >>> model = nn.Conv2d(4, 4, 3, groups=4)
        >>> print(gaussian_fits(model, model))
        no depthwise kernels of at least 5 x 5
        1 left out: 3 x 3 is too small
    """
    rows, left_out, chance = [], dict[str, str](), dict[str, float]()
    for pair in pair_kernels(before, after, include, exclude):
        size, count = pair.before.image_shape, len(pair.before.slices)
        if pair.kind != "depthwise":
            continue
        if len(size) != 2:
            left_out[pair.layer] = f"{times(pair.before.kernel_size)} is not two-dimensional"
        elif min(size) < _SMALLEST:
            left_out[pair.layer] = f"{times(size)} is too small"
        else:
            chosen = sampled(count, _affordable(size), seed)
            sides = (_shares(kernel.slices[chosen], size, tolerance) for kernel in (pair.before, pair.after))
            rows.append(LayerGaussians(pair.layer, pair.before.kernel_size, count, len(chosen), *sides))
            if times(size) not in chance:
                noise = torch.randn(_NOISE, math.prod(size), generator=torch.Generator().manual_seed(seed)).double()
                chance[times(size)] = _shares(noise[: _affordable(size)], size, tolerance).fitting
    total = sum(row.slices for row in rows)

    def pooled(of: str) -> tuple[float, float]:
        first, last = (
            sum(row.slices * (side.fitting if of == "fitting" else side.families[of]) for row, side in sides) / total
            for sides in ([(row, row.before) for row in rows], [(row, row.after) for row in rows])
        )
        return first, last

    return GaussianFits(
        layers=tuple(rows),
        fitting=pooled("fitting") if rows else None,
        families={name: pooled(name) for name in FAMILIES} if rows else {},
        chance=chance,
        left_out=left_out,
        tolerance=tolerance,
        seed=seed,
    )


def residuals(slices: Tensor, size: Sequence[int]) -> Tensor:
    """Return the least relative square residual of every slice in each family [n, 3], in the order of FAMILIES.

    Two unit patterns p and q of correlation r explain (<w, p>^2 + <w, q>^2 - 2 r <w, p> <w, q>) / (1 - r^2) of the
    square sum of a slice w of unit norm: that is least squares with two amplitudes. Slices [n, k] of zeros have
    residual 1; ``size``: taps per dimension, two of them, product k.
    """
    norms = slices.norm(dim=-1, keepdim=True)
    directions = slices / torch.where(norms > 0, norms, 1)
    units = _unit_patterns(tuple(size))
    return torch.cat([_least(part, units) for part in directions.split(_CHUNK)])


def patterns(size: Sequence[int], scale: float, centre: tuple[float, float], angle: float) -> tuple[Tensor, ...]:
    """Return a Gaussian and its first and second derivative along an orientation, each [k], sampled at the taps.

    The scale and the centre, row and column from the middle of the kernel, are in taps; the angle of the orientation
    from the first dimension's axis is in radians.
    """
    ends = zip(size, centre, strict=True)
    rows, columns = (torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2 - at for taps, at in ends)
    gauss = torch.exp(-(rows[:, None].square() + columns.square()) / (2 * scale**2))
    u = (math.cos(angle) * rows[:, None] + math.sin(angle) * columns) / scale
    return gauss.reshape(-1), (-u / scale * gauss).reshape(-1), ((u.square() - 1) / scale**2 * gauss).reshape(-1)


def _scales(size: Sequence[int]) -> list[float]:
    """From half a tap, by steps of the square root of two, to a third of the kernel."""
    largest = (min(size) + 1) / 3
    steps = int(math.log(largest / _FIRST_SCALE) / math.log(_SCALE_STEP) + 1e-9)
    return [_FIRST_SCALE * _SCALE_STEP**step for step in range(steps + 1)]


@lru_cache(maxsize=8)
def _unit_patterns(size: tuple[int, ...]) -> tuple[Tensor, ...]:
    """Per family, the patterns of every scale and point of the grid [scales, points, k], each of unit norm."""
    angles = [math.pi * step / _ORIENTATIONS for step in range(_ORIENTATIONS)]
    scales, found = _scales(size), [list[Tensor]() for _ in FAMILIES]
    for scale, row, column, angle in itertools.product(scales, _CENTRES, _CENTRES, angles):
        for number, pattern in enumerate(patterns(size, scale, (row, column), angle)):
            if number or angle == 0:  # the Gaussian itself has no orientation
                found[number].append(pattern / pattern.norm())
    return tuple(torch.stack(of_family).unflatten(0, (len(scales), -1)) for of_family in found)


def _least(directions: Tensor, units: Sequence[Tensor]) -> Tensor:
    """The least residuals [n, 3] of unit slices [n, k]."""
    best = torch.zeros(len(directions), len(FAMILIES), dtype=directions.dtype)
    for number, of_family in enumerate(units):
        inner = directions @ of_family.mT  # [scales, n, points]
        for small, large in itertools.combinations(range(len(of_family)), 2):
            correlation = (of_family[small] * of_family[large]).sum(-1)
            p, q = inner[small], inner[large]
            explained = (p.square() + q.square() - 2 * correlation * p * q) / (1 - correlation.square())
            best[:, number] = torch.maximum(best[:, number], explained.amax(-1))
    return (1 - best).clamp(min=0)


def _affordable(size: Sequence[int]) -> int:
    """How many slices can be fitted at the cost that is allowed."""
    scales, points = len(_scales(size)), len(_CENTRES) ** 2 * (1 + 2 * _ORIENTATIONS)
    products, combinations = scales * math.prod(size), 6 * scales * (scales - 1) // 2
    return max(16, _COST // (points * (products + combinations)))


def _shares(slices: Tensor, size: Sequence[int], tolerance: float) -> GaussianShares:
    least, family = residuals(slices, size).min(-1)
    fits = least <= tolerance
    return GaussianShares(
        fitting=float(fits.double().mean()),
        families={name: float((fits & (family == at)).double().mean()) for at, name in enumerate(FAMILIES)},
        residual=float(least.median()),
    )
