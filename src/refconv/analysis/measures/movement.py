"""How far each layer moved between two models, and whether along the patterns that its base kernels share.

With D = after - before, the movement of a layer:

* relative distance: |D| / |before|, Frobenius norms;
* cosine between before and after, as vectors;
* alignment with the Gram G of the first model: <D, D G> / |D|^2 with the mean eigenvalue of every block's G brought to
  one. An isotropic movement has 1; one along the leading eigenvectors more. Training in the metric of G multiplies
  gradients by it (docs/math.md), so refocusing should show more than plain training does;
* the share of |D|^2 in the leading directions: the fewest eigenvectors of G that hold half of its trace, beside the
  share that an isotropic movement would have there.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refconv.analysis.blocks import view_blocks
from refconv.analysis.pairs import KernelPair, pair_kernels
from refconv.config import RefocusConfig
from refconv.layers import Selection
from refconv.measures.refocusing import LayerMovement, Movement
from refconv.measures.tables import mean
from refconv.ops import Order, metric_gram


def movement(
    before: nn.Module,
    after: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    map_size: int | Sequence[int] = RefocusConfig.map_size,
    order: Order = RefocusConfig.order,
    seed: int = 0,
) -> Movement:
    """Measure how far each layer moved from one model to the other, and in which directions.

    Args:
        before: the first model, plain: the base of refocusing.
        after: the second, of the same architecture.
        include: layers to look at, as in :func:`refconv.layers.select`; by default all kernels of more than one tap.
        exclude: layers to leave out.
        map_size: taps of the refocusing map whose Gram is meant, as in :func:`refconv.refocus`.
        order: how slices are gathered into blocks.
        seed: of the sample of blocks where a layer has very many.

    Raises:
        ModelError: if the models do not hold the same convolutions, or one of them cannot be measured.
        SettingError: if the map size or the order does not exist.

    Example:
        >>> before, after = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)
        >>> after.weight = nn.Parameter(2 * before.weight.detach())
        >>> movement(before, after).relative
        1.0
    """
    pairs = pair_kernels(before, after, include, exclude)
    rows = [_of_pair(pair, map_size, order, seed) for pair in pairs]
    first = torch.cat([pair.before.weight.reshape(-1) for pair in pairs])
    last = torch.cat([pair.after.weight.reshape(-1) for pair in pairs])
    return Movement(
        layers=tuple(rows),
        relative=_relative(first, last),
        cosine=_cosine(first, last),
        alignment=mean([row.alignment for row in rows]),
        leading=mean([row.leading for row in rows]),
        leading_isotropic=mean([row.leading_isotropic for row in rows]),
        still=sum(torch.equal(pair.before.weight, pair.after.weight) for pair in pairs),
        map_size=(map_size,) if isinstance(map_size, int) else tuple(map_size),
        order=order,
        seed=seed,
    )


def alignment(moved: Tensor, grams: Tensor) -> tuple[float, float, float] | None:
    """Return alignment, leading share and the leading share of isotropic movements; None if nothing moved.

    Args:
        moved: D [b, m, k].
        grams: G [b, k, k] with mean eigenvalue one; blocks of zeros count as isotropic ones.
    """
    k = grams.shape[-1]
    energies = moved.square().sum((1, 2))
    if not bool(energies.sum() > 0):
        return None
    dead = grams.diagonal(dim1=-2, dim2=-1).sum(-1) <= 0
    grams = torch.where(dead[:, None, None], torch.eye(k, dtype=grams.dtype), grams)
    values, vectors = torch.linalg.eigh(grams)  # ascending
    along = (moved @ vectors).square().sum(1).flip(-1)  # [b, k]: |D|^2 along each eigenvector, the leading first
    values = values.flip(-1).clamp(min=0)
    before = (values.cumsum(-1) - values) / values.sum(-1, keepdim=True)
    leading = before < 0.5 - 1e-12  # those after which half of the trace is not yet held
    total = energies.sum()
    isotropic = (energies * leading.double().mean(-1)).sum() / total
    return float((along * values).sum() / total), float(along[leading].sum() / total), float(isotropic)


def _of_pair(pair: KernelPair, map_size: int | Sequence[int], order: Order, seed: int) -> LayerMovement:
    view = view_blocks(pair.before, map_size, order, seed)
    base = view.of(pair.before)
    moved = view.of(pair.after) - base
    grams = metric_gram(base, view.kernel_size, view.map_size, scale="normalized")
    found = alignment(moved, grams)
    first, last = pair.before.weight.reshape(-1), pair.after.weight.reshape(-1)
    return LayerMovement(
        layer=pair.layer,
        kind=pair.kind,
        relative=_relative(first, last),
        cosine=_cosine(first, last),
        alignment=found[0] if found else None,
        leading=found[1] if found else None,
        leading_isotropic=found[2] if found else None,
        blocks=view.total,
        sampled=len(view.chosen),
    )


def _relative(first: Tensor, last: Tensor) -> float | None:
    norm = float(first.norm())
    return float((last - first).norm()) / norm if norm else None


def _cosine(first: Tensor, last: Tensor) -> float | None:
    norms = float(first.norm() * last.norm())
    return max(-1.0, min(1.0, float(first @ last) / norms)) if norms else None
