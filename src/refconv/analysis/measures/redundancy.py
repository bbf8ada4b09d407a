"""Channel redundancy: how alike the kernels of a layer's output channels are.

The paper (arXiv 2310.10563) measures it by the Kullback-Leibler divergence between the kernels of channels: the larger,
the less alike, the less redundant. A kernel becomes a distribution by the softmax over its entries:

    p_i = softmax(w_i),      D[i, j] = KL(p_i || p_j) = sum_y p_i[y] log(p_i[y] / p_j[y])          (nats)

The mean over all ordered pairs i != j is also the mean of the symmetric (D[i, j] + D[j, i]) / 2.

Note [What the paper leaves open]. Its abstract and release name neither the distribution nor the direction; what is
computed here takes the softmax over a channel's whole kernel (the k taps of a depthwise one, in / groups * k entries
otherwise) and the mean over both directions.

Note [Divergence and scale]. Softmax is not indifferent to scale: for small weights D grows with their square, so a
layer whose weights merely grew counts as less redundant. ``scaled_divergence`` takes that out: the same with the
layer's weights divided by their root mean square, so that it depends on the patterns and their relative strength alone.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refconv.analysis.pairs import Kernel, pair_kernels, sampled
from refconv.layers import Selection
from refconv.measures.redundancy import ChannelRedundancy, LayerRedundancy, Redundancy
from refconv.measures.tables import mean


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
        rows.append(
            LayerRedundancy(
                layer=pair.layer,
                kind=pair.kind,
                channels=count,
                sampled=len(compared),
                shown=tuple(compared[at].tolist()),
                before=_of_kernel(pair.before, compared, at),
                after=_of_kernel(pair.after, compared, at),
            )
        )
    names = ("divergence", "scaled_divergence", "cosine", "effective_rank")
    means = {
        name: (mean([getattr(r.before, name) for r in rows]), mean([getattr(r.after, name) for r in rows]))
        for name in names
    }
    return Redundancy(
        layers=tuple(rows),
        divergence=means["divergence"],
        scaled_divergence=means["scaled_divergence"],
        cosine=means["cosine"],
        effective_rank=means["effective_rank"],
        less_redundant=_share_grown([(r.before.divergence, r.after.divergence) for r in rows]),
        less_redundant_scaled=_share_grown([(r.before.scaled_divergence, r.after.scaled_divergence) for r in rows]),
        seed=seed,
    )


def divergences(filters: Tensor) -> Tensor:
    """Return the Kullback-Leibler divergences [n, n] in nats between the softmaxes of the rows of filters [n, d].

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
    """Return exp(H), H the entropy of the singular values of a matrix [n, k] as shares of their sum.

    Source: O. Roy and M. Vetterli, The effective rank: a measure of effective dimensionality, EUSIPCO 2007,
    definition 1. None for a matrix of zeros.

    Example:
        >>> round(effective_rank(torch.eye(4)), 6)
        4.0
    """
    if len(matrix) > matrix.shape[1]:
        matrix = torch.linalg.qr(matrix, mode="r").R  # the same singular values, in a small matrix
    values = torch.linalg.svdvals(matrix)
    total = float(values.sum())
    return float(torch.special.entr(values / total).sum().exp()) if total > 0 else None


def _of_kernel(kernel: Kernel, compared: Tensor, at: Tensor) -> ChannelRedundancy:
    filters = kernel.filters[compared]
    scale = float(kernel.weight.square().mean().sqrt())
    matrix = divergences(filters)
    shown = matrix[at][:, at]
    return ChannelRedundancy(
        divergence=mean_off_diagonal(matrix),
        scaled_divergence=mean_off_diagonal(divergences(filters / scale)) if scale else mean_off_diagonal(matrix),
        cosine=mean_absolute_cosine(filters),
        effective_rank=effective_rank(kernel.slices),
        matrix=tuple(tuple(float(f"{value:.4g}") for value in line) for line in shown.tolist()),
    )


def _share_grown(pairs: list[tuple[float | None, float | None]]) -> float | None:
    grown = [after > before for before, after in pairs if before is not None and after is not None]
    return sum(grown) / len(grown) if grown else None
