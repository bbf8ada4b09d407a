"""The quality of a layer's filters: sparsity, variety and orthogonality, and which layers are degenerate.

After CNN Filter DB (Gavrikov and Keuper, CVPR 2022, arXiv 2203.15331, section 5), there for 3 x 3, here for kernels of
any size. With the n slices of a layer as rows of k taps:

* sparsity: share of slices all of whose entries are at most eps_0 = 1/100 of the layer's largest entry;
* variance entropy: H = - sum_i v_i log10 v_i, v_i the explained variance ratio of the i-th principal component of the
  layer's slices; 0 if all lie on a line, log10 k if they spread alike in all directions, as random ones do;
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

import torch
from torch import Tensor, nn

from refconv.analysis.measures.redundancy import mean_absolute_cosine
from refconv.analysis.pairs import Kernel, pair_kernels, sampled
from refconv.layers import Selection
from refconv.measures.filters import FilterQuality, FilterStatistics, LayerQuality
from refconv.measures.tables import mean

# An entry counts as zero up to this share of the layer's largest (the paper's eps_0).
_ZERO = 0.01
# A layer is sparse when more than half of its slices are, and narrow when its entropy is under half of the largest
# possible one; the paper draws no sharp line for either.
_MOST_SPARSE = 0.5
_LEAST_ENTROPY = 0.5
# Share of the largest entropy from which a layer is random whatever its n: where the paper's fit levels off.
_RANDOM = 0.997
# Drawn layers behind a random threshold, and what they may cost, in multiplications.
_DRAWS = 100
_COST = 2 * 10**9


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
    sides = [row.before for row in rows], [row.after for row in rows]
    slices = [row.slices for row in rows]
    sparsity, variety, orthogonality, layers, degenerate = zip(
        *(_summary(side, slices, [log10(row.taps) for row in rows]) for side in sides), strict=True
    )
    return FilterStatistics(tuple(rows), sparsity, variety, orthogonality, layers, degenerate)


def sparse_slices(slices: Tensor) -> Tensor:
    """Return which slices [n] of a layer [n, k] are zero to one percent of the layer's largest entry."""
    magnitudes = slices.abs()
    return magnitudes.amax(-1) <= _ZERO * magnitudes.max()


def variance_entropy(slices: Tensor) -> float | None:
    """Return H of the explained variance ratios of slices [n, k]; None if they are all equal.

    Example:
        >>> corners = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]], dtype=torch.float64)
        >>> round(variance_entropy(corners), 4)  # log10 of 2
        0.301
    """
    found = _entropies(slices[None])[0]
    return float(found) if bool(found.isfinite()) else None


@lru_cache(maxsize=1024)
def random_threshold(n: int, k: int) -> float:
    """Return the variance entropy from which a layer of n slices of k taps counts as random.

    Args:
        n: slices, more than k.
        k: taps, at least two.

    Example:
        >>> random_threshold(40, 9) < random_threshold(4000, 9) < log10(9)
        True
    """
    most = _RANDOM * log10(k)
    # A drawn layer's entropy lies about (k + 1) / (2 n) nats under the largest: far above the cap, nothing is drawn.
    if (k + 1) / (2 * n) < (1 - _RANDOM) * log10(k):
        return most
    generator = torch.Generator().manual_seed(0)
    draws = max(4, min(_DRAWS, _COST // (n * k * k)))
    drawn = [torch.randn(1, n, k, generator=generator, dtype=torch.float64) for _ in range(draws)]
    entropies = torch.cat([_entropies(layer) for layer in drawn])
    return min(most, float(entropies.mean() - 3 * entropies.std()))


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
    return FilterQuality(sparsity, entropy, None if cosine is None else 1 - cosine, degenerate)


def _summary(
    layers: Sequence[FilterQuality], slices: Sequence[int], largest: Sequence[float]
) -> tuple[float, float | None, float | None, float, float]:
    """Sparsity, relative entropy, orthogonality, degenerate layers and degenerate slices of one model."""
    relative = [
        None if layer.variance_entropy is None else layer.variance_entropy / most
        for layer, most in zip(layers, largest, strict=True)
        if most > 0
    ]
    counted = list(zip(layers, slices, strict=True))
    return (
        sum(layer.sparsity * n for layer, n in counted) / sum(slices),
        mean(relative),
        mean([layer.orthogonality for layer in layers]),
        sum(layer.degenerate is not None for layer in layers) / len(layers),
        sum((1.0 if layer.degenerate else layer.sparsity) * n for layer, n in counted) / sum(slices),
    )
