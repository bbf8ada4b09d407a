"""How alike the filters of a layer's output channels are, and how good: redundancy, sparsity, variety, orthogonality.

The paper (arXiv 2310.10563) measures redundancy by the Kullback-Leibler divergence between the kernels of channels: the
larger, the less redundant. A kernel becomes a distribution by the softmax over its entries:

    p_i = softmax(w_i),      D[i, j] = KL(p_i || p_j) = sum_y p_i[y] log(p_i[y] / p_j[y])          (nats)

The mean over all ordered pairs i != j is also the mean of the symmetric (D[i, j] + D[j, i]) / 2.

Note [What the paper leaves open]. Its abstract and release name neither the distribution nor the direction; what is
computed here takes the softmax over a channel's whole kernel (the k taps of a depthwise one, in / groups * k entries
otherwise) and the mean over both directions.

Note [Divergence and scale]. Softmax is not indifferent to scale: for small weights D grows with their square, so a
layer whose weights merely grew counts as less redundant. ``scaled_divergence`` takes that out: the same with the
layer's weights divided by their root mean square, so that it depends on the patterns and their relative strength alone.

Quality is that of CNN Filter DB (Gavrikov and Keuper, CVPR 2022, arXiv 2203.15331, section 5), there for 3 x 3, here
for kernels of any size. With the n slices of a layer as rows of k taps:

* sparsity: share of slices all of whose entries are at most eps_0 = 1/100 of the layer's largest entry;
* variance entropy: H = - sum_i v_i log10 v_i, v_i the explained variance ratio of the i-th principal component of the
  layer's slices; 0 if all lie on a line, log10 k if they spread alike in all directions, as random ones do;
* zeros, which is not theirs: share of entries that are exactly zero, as of a pruned network;
* orthogonality: 1 - mean of |cos| over all pairs of the layer's filters (one per output channel).

Note [Random threshold]. The paper calls a layer random when H comes up to what it saw among drawn 3 x 3 layers of the
same n, fitted by a sigmoid that levels off at 0.997 log10 9. Here drawn normal layers of n slices and k taps are
simulated, and the threshold is the mean of their entropies less three standard deviations, at most 0.997 log10 k. The
two agree to a few percent for 3 x 3 (see the tests). Layers with no more slices than taps are not judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from math import log, log10
from typing import Any

import torch
from torch import Tensor, nn

from refconv.analysis.pairs import Kernel, pair_kernels, rounded, sampled
from refconv.layers import Selection
from refconv.measures.filters import FilterQuality, FilterStatistics, LayerQuality
from refconv.measures.redundancy import ChannelRedundancy, LayerRedundancy, Redundancy
from refconv.measures.tables import mean

_ZERO = 0.01  # share of the layer's largest entry up to which an entry counts as zero (the paper's eps_0)
# A layer is sparse when more than half of its slices are, and narrow when its entropy is under half of the largest
# possible one; the paper draws no sharp line for either.
_MOST_SPARSE, _LEAST_ENTROPY = 0.5, 0.5
_RANDOM = 0.997  # share of the largest entropy from which a layer is random whatever its n: the paper's fit levels off
_DRAWS, _COST = 100, 2 * 10**9  # drawn layers behind a random threshold, and what they may cost, in multiplications


def redundancy(
    before: nn.Module,
    after: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    channels: int = 256,
    shown: int = 32,
    seed: int = 0,
) -> Redundancy:
    """Measure how alike the channels of each layer are, in two models.

    Args:
        channels: the most output channels of a layer to compare with one another; a sample of a larger layer.
        shown: the most channels in a matrix.

    Example:
        >>> model = nn.Conv2d(4, 4, 3, groups=4)
        >>> _ = nn.init.constant_(model.weight, 0.5)
        >>> f"{redundancy(model, model).layers[0].after.cosine:.3f}"
        '1.000'
    """
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        count = len(pair.before.filters)
        compared = sampled(count, channels, seed)
        at = sampled(len(compared), shown, seed)
        sides = (_of_kernel(kernel, compared, at) for kernel in (pair.before, pair.after))
        indices = tuple(compared[at].tolist())
        rows.append(LayerRedundancy(pair.layer, pair.kind, count, len(compared), indices, *sides))

    def of_each(name: str) -> tuple[list[float | None], list[float | None]]:
        return [getattr(row.before, name) for row in rows], [getattr(row.after, name) for row in rows]

    names = ("divergence", "scaled_divergence", "cosine", "effective_rank")
    means: dict[str, Any] = {name: tuple(map(mean, of_each(name))) for name in names}
    return Redundancy(
        layers=tuple(rows),
        less_redundant=_share_grown(*of_each("divergence")),
        less_redundant_scaled=_share_grown(*of_each("scaled_divergence")),
        seed=seed,
        **means,
    )


def filter_statistics(
    before: nn.Module,
    after: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    channels: int = 256,
    seed: int = 0,
) -> FilterStatistics:
    """Measure the quality of the filters of two models.

    Args:
        channels: the most filters of a layer whose cosines are taken; a sample of a larger layer.

    Example:
        >>> model = nn.Conv2d(16, 16, 3, groups=16)
        >>> _ = nn.init.constant_(model.weight, 0.5)
        >>> filter_statistics(model, model).layers[0].after.degenerate
        'narrow'
    """
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        n, k = pair.before.slices.shape
        threshold = random_threshold(n, k) if n > k > 1 else None
        compared = sampled(len(pair.before.filters), channels, seed)
        first, last = (_quality(kernel, threshold, compared) for kernel in (pair.before, pair.after))
        rows.append(LayerQuality(pair.layer, pair.kind, n, k, threshold, first, last))
    summaries = (_summary(rows, [row.before for row in rows]), _summary(rows, [row.after for row in rows]))
    return FilterStatistics(tuple(rows), *zip(*summaries, strict=True))


def divergences(filters: Tensor) -> Tensor:
    """Return the divergences [n, n] in nats between the softmaxes of the rows of filters [n, d].

    Entry (i, j) is KL(p_i || p_j): how badly channel j's distribution stands in for channel i's.
    """
    logs = filters.log_softmax(-1)
    p = logs.exp()
    found = (p * logs).sum(-1, keepdim=True) - p @ logs.mT
    found.fill_diagonal_(0)  # zero but for rounding
    return found.clamp(min=0)


def mean_off_diagonal(matrix: Tensor) -> float | None:
    """Return the mean of a square matrix's entries off the diagonal; None if there are none."""
    n = len(matrix)
    return float((matrix.sum() - matrix.diagonal().sum()) / (n * (n - 1))) if n > 1 else None


def mean_absolute_cosine(filters: Tensor) -> float | None:
    """Return the mean absolute cosine between different rows of filters [n, d]; rows of zeros are left out."""
    norms = filters.norm(dim=-1, keepdim=True)
    directions = filters[norms[:, 0] > 0] / norms[norms[:, 0] > 0]
    return mean_off_diagonal((directions @ directions.mT).abs().clamp(max=1))


def effective_rank(matrix: Tensor) -> float | None:
    """Return exp(H), H the entropy of the singular values of a matrix [n, k] as shares of their sum; None for zeros.

    Source: O. Roy and M. Vetterli, The effective rank: a measure of effective dimensionality, EUSIPCO 2007,
    definition 1.
    """
    if len(matrix) > matrix.shape[1]:
        matrix = torch.linalg.qr(matrix, mode="r").R  # the same singular values, in a small matrix
    values = torch.linalg.svdvals(matrix)
    total = float(values.sum())
    return float(torch.special.entr(values / total).sum().exp()) if total > 0 else None


def sparse_slices(slices: Tensor) -> Tensor:
    """Return which slices [n] of a layer [n, k] are zero to one percent of the layer's largest entry."""
    magnitudes = slices.abs()
    return magnitudes.amax(-1) <= _ZERO * magnitudes.max()


def variance_entropy(slices: Tensor) -> float | None:
    """Return H of the explained variance ratios of slices [n, k]; None if they are all equal."""
    found = _entropies(slices[None])[0]
    return float(found) if bool(found.isfinite()) else None


@lru_cache(maxsize=1024)
def random_threshold(n: int, k: int) -> float:
    """Return the variance entropy from which a layer of n > k slices of k > 1 taps counts as random."""
    most = _RANDOM * log10(k)
    # A drawn layer's entropy lies about (k + 1) / (2 n) nats under the largest: far above the cap, nothing is drawn.
    if (k + 1) / (2 * n) < (1 - _RANDOM) * log10(k):
        return most
    generator = torch.Generator().manual_seed(0)
    draws = max(4, min(_DRAWS, _COST // (n * k * k)))
    drawn = [torch.randn(1, n, k, generator=generator, dtype=torch.float64) for _ in range(draws)]
    entropies = torch.cat([_entropies(layer) for layer in drawn])
    return min(most, float(entropies.mean() - 3 * entropies.std()))


def _of_kernel(kernel: Kernel, compared: Tensor, at: Tensor) -> ChannelRedundancy:
    filters = kernel.filters[compared]
    scale = float(kernel.weight.square().mean().sqrt())
    matrix = divergences(filters)
    return ChannelRedundancy(
        divergence=mean_off_diagonal(matrix),
        scaled_divergence=mean_off_diagonal(divergences(filters / scale)) if scale else mean_off_diagonal(matrix),
        cosine=mean_absolute_cosine(filters),
        effective_rank=effective_rank(kernel.slices),
        matrix=rounded(matrix[at][:, at]),
    )


def _share_grown(before: Sequence[float | None], after: Sequence[float | None]) -> float | None:
    pairs = zip(before, after, strict=True)
    grown = [last > first for first, last in pairs if first is not None and last is not None]
    return sum(grown) / len(grown) if grown else None


def _entropies(layers: Tensor) -> Tensor:
    """Variance entropies [batch] of layers [batch, n, k]; not a number where a layer has no variance."""
    centred = layers - layers.mean(1, keepdim=True)
    variances = torch.linalg.eigvalsh(centred.mT @ centred).clamp(min=0)
    # equal slices leave variances of rounding alone
    negligible = layers.square().sum((1, 2)) * torch.finfo(layers.dtype).eps
    total = variances.sum(-1)
    ratios = variances / torch.where(total > negligible, total, torch.nan)[:, None]
    entropies: Tensor = torch.special.entr(ratios).sum(-1) / log(10)
    return entropies


def _quality(kernel: Kernel, threshold: float | None, compared: Tensor) -> FilterQuality:
    slices = kernel.slices
    sparsity = float(sparse_slices(slices).double().mean())
    entropy = variance_entropy(slices)
    cosine = mean_absolute_cosine(kernel.filters[compared])
    degenerate = None
    if sparsity > _MOST_SPARSE:
        degenerate = "sparse"
    elif threshold is not None:
        if entropy is None or entropy < _LEAST_ENTROPY * log10(slices.shape[1]):
            degenerate = "narrow"
        elif entropy >= threshold:
            degenerate = "random"
    zeros = float((slices == 0).double().mean())
    return FilterQuality(sparsity, entropy, None if cosine is None else 1 - cosine, degenerate, zeros)


def _summary(rows: Sequence[LayerQuality], layers: Sequence[FilterQuality]) -> tuple[Any, ...]:
    """Sparsity, relative entropy, orthogonality, degenerate layers and slices, and zeros of one model."""
    counted, total = [(row.slices, layer) for row, layer in zip(rows, layers, strict=True)], sum(r.slices for r in rows)
    entropies = [(layer.variance_entropy, row.taps) for row, layer in zip(rows, layers, strict=True) if row.taps > 1]
    return (
        sum(layer.sparsity * n for n, layer in counted) / total,
        mean([None if entropy is None else entropy / log10(taps) for entropy, taps in entropies]),
        mean([layer.orthogonality for layer in layers]),
        sum(layer.degenerate is not None for layer in layers) / len(layers),
        sum((1.0 if layer.degenerate else layer.sparsity) * n for n, layer in counted) / total,
        sum(layer.zeros * row.slices * row.taps for row, layer in zip(rows, layers, strict=True))
        / sum(row.slices * row.taps for row in rows),
    )
