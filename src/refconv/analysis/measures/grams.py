"""What the Gram G = P^T P of a layer's base kernels (docs/math.md) says: its spectrum, movement along it, relations.

The spectrum says along how many patterns refocusing learns, and how unevenly: G multiplies gradients, so a part of a
gradient along an eigenvector is amplified by its eigenvalue. Eigenvalues are taken over their mean, trace(G) / k, since
a common factor is a learning rate.

The movement of a layer is D = after - before:

* relative distance: |D| / |before|, Frobenius norms;
* cosine between before and after, as vectors;
* alignment with the Gram G of the first model: <D, D G> / |D|^2 with the mean eigenvalue of every block's G brought to
  one. An isotropic movement has 1; one along the leading eigenvectors more. Training in the metric of G multiplies
  gradients by it, so refocusing should show more than plain training does;
* the share of |D|^2 in the leading directions: the fewest eigenvectors of G that hold half of its trace, beside the
  share that an isotropic movement would have there.

Relations between kernels are the refocus weight R of least norm that leads from one model to the other, whatever
trained it,

    R = D P^+ = D G^+ P^T                       (docs/math.md, "R is not lost")

as far as the patches P of the base reach D. Training from R = 0 by gradient descent, in either space, gives this very
R. The strength with which slice i draws on slice j is the norm of its weights over the t taps of the map,

    S[i, j] = |R[i, (j, 1 .. t)]|,

and between output channels the root of the sum of squares over their slices. Dense layers have a block for each slice
(j = i alone), so there only the norm per slice is of interest.

Note [Scale and condition]. S depends on the scale of the base: half the base needs weights of twice the size.
Shares, partners and the order of strengths within a block do not. Where a block's Gram is ill-conditioned, as that of
a single slice often is, a movement that refocusing did not make needs huge weights. In dense layers trained in the
plain way the norm says more about the few worst slices than about the layer; ``slice_norms`` shows the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from refconv.analysis.pairs import BlockView, Kernel, KernelPair, find_kernels, pair_kernels, rounded, sampled
from refconv.config import RefocusConfig
from refconv.layers import Selection
from refconv.measures.refocusing import (
    GramSpectra,
    LayerMovement,
    LayerRelations,
    LayerSpectrum,
    Movement,
    Relation,
    Relations,
)
from refconv.measures.tables import mean
from refconv.ops import Order, Scale, metric_gram, refocused_blocks, smallest_refocus_weight

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


def gram_spectra(
    model: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    map_size: int | Sequence[int] = RefocusConfig.map_size,
    order: Order = RefocusConfig.order,
    seed: int = 0,
) -> GramSpectra:
    """Measure the spectra of the Grams that a model's kernels give as bases of refocusing.

    The model is the base, so usually the pretrained one.

    Example:
        >>> model = nn.Conv2d(1, 1, 3)
        >>> delta = torch.zeros(1, 1, 3, 3)
        >>> delta[0, 0, 1, 1] = 1  # all shifts of one tap: every direction alike
        >>> model.weight = nn.Parameter(delta)
        >>> gram_spectra(model).layers[0].condition
        1.0
    """
    rows = [_spectrum(kernel, map_size, order, seed) for kernel in find_kernels(model, include, exclude)]
    conditions = [row.condition for row in rows if row.condition is not None]
    return GramSpectra(
        layers=tuple(rows),
        effective_share=mean([row.effective_rank / len(row.eigenvalues) for row in rows if row.effective_rank]),
        condition=_median(torch.tensor(conditions, dtype=torch.float64)) if conditions else None,
        **_geometry(map_size, order, seed),
    )


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
    """Measure how far each layer moved from one model, the base of refocusing, to the other, and in which directions.

    Example:
        >>> before, after = nn.Conv2d(2, 2, 3), nn.Conv2d(2, 2, 3)
        >>> after.weight = nn.Parameter(2 * before.weight.detach())
        >>> movement(before, after).relative
        1.0
    """
    pairs = pair_kernels(before, after, include, exclude)
    rows = []
    for pair in pairs:
        view = BlockView.choose(pair.before, map_size, order, seed)
        base = view.of(pair.before)
        grams = metric_gram(base, view.kernel_size, view.map_size, scale="normalized")
        moved = view.of(pair.after) - base
        found: tuple[float | None, float | None, float | None] = alignment(moved, grams) or (None, None, None)
        sides = pair.before.weight.reshape(-1), pair.after.weight.reshape(-1)
        about = _relative(*sides), _cosine(*sides)
        rows.append(LayerMovement(pair.layer, pair.kind, *about, *found, view.total, len(view.chosen)))
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
        **_geometry(map_size, order, seed),
    )


def relations(
    before: nn.Module,
    after: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    map_size: int | Sequence[int] = RefocusConfig.map_size,
    order: Order = RefocusConfig.order,
    scale: Scale = RefocusConfig.scale,
    power: float = RefocusConfig.power,
    shown: int = 64,
    strongest: int = 10,
    seed: int = 0,
) -> Relations:
    """Recover the refocus weights that lead from one model, the base, to another, and the relations between kernels.

    Args:
        shown: the most output channels in a matrix; a sample of a larger layer.
        strongest: how many relations between different channels to name.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> before, after = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)
        >>> after.weight = nn.Parameter(3 * before.weight.detach())  # R is 2 at the centre of the map
        >>> round(relations(before, after, scale="paper").layers[0].norm, 4)
        2.0
    """
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        view = BlockView.choose(pair.before, map_size, order, seed)
        rows.append(_relations(pair, view, scale, power, sampled(len(pair.before.filters), shown, seed), strongest))
    meeting = [row for row in rows if row.slices > 1]
    return Relations(
        layers=tuple(rows),
        residual=mean([row.residual for row in rows]),
        own=mean([row.own for row in meeting]),
        own_if_even=mean([row.own_if_even for row in meeting]),
        scale=scale,
        power=power,
        **_geometry(map_size, order, seed),
    )


def _geometry(map_size: int | Sequence[int], order: Order, seed: int) -> dict[str, Any]:
    """Return how layers were looked at, as records of Grams have it."""
    sizes = (map_size,) if isinstance(map_size, int) else tuple(map_size)
    return {"map_size": sizes, "order": order, "seed": seed}


def alignment(moved: Tensor, grams: Tensor) -> tuple[float, float, float] | None:
    """Return alignment, leading share and that of isotropic movements, of D [b, m, k]; None if nothing moved.

    Grams [b, k, k] have mean eigenvalue one; blocks of zeros count as isotropic ones.
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


def channel_strengths(strengths: Tensor, channels: Tensor, count: int) -> Tensor:
    """Return strengths between output channels [count, count] from S [b, m, m] and the slices' channels [b, m]."""
    at = channels[:, :, None] * count + channels[:, None, :]
    squares = torch.zeros(count * count, dtype=strengths.dtype)
    squares.index_add_(0, at.reshape(-1), strengths.square().reshape(-1))
    return squares.sqrt().reshape(count, count)


def _spectrum(kernel: Kernel, map_size: int | Sequence[int], order: Order, seed: int) -> LayerSpectrum:
    view = BlockView.choose(kernel, map_size, order, seed)
    grams = metric_gram(view.of(kernel), view.kernel_size, view.map_size)
    values = torch.linalg.eigvalsh(grams).flip(-1)
    # those that are zero to rounding are set to zero, as in refconv.ops.gram_power
    floor = values.amax(-1, keepdim=True).clamp(min=0) * values.shape[-1] * torch.finfo(values.dtype).eps
    values = torch.where(values > floor, values, 0)
    means = values.mean(-1)
    alive = values[means > 0]
    relative = alive / alive.mean(-1, keepdim=True)
    ranks = (alive > 0).sum(-1)
    found: tuple[float | None, ...] = (None, None, None)
    if len(alive):
        smallest = alive.gather(-1, ranks[:, None] - 1)[:, 0]
        shares = alive / alive.sum(-1, keepdim=True)
        effective = torch.special.entr(shares).sum(-1).exp()
        found = _median(ranks), _median(alive[:, 0] / smallest), _median(effective)
    eigenvalues = tuple(relative.mean(0).tolist()) if len(alive) else (0.0,) * values.shape[-1]
    of_layer = kernel.layer, kernel.kind, kernel.kernel_size, view.total, len(view.chosen)
    return LayerSpectrum(*of_layer, eigenvalues, float(means.mean()), *found)


def _relations(
    pair: KernelPair, view: BlockView, scale: Scale, power: float, shown: Tensor, strongest: int
) -> LayerRelations:
    base = view.of(pair.before)
    moved = view.of(pair.after) - base
    sizes = view.kernel_size, view.map_size
    weight = smallest_refocus_weight(moved, base, *sizes, scale=scale, power=power)
    reached = refocused_blocks(weight, base, *sizes, scale=scale, power=power) - base
    length = float(moved.norm())
    b, m, _ = base.shape
    strengths = weight.reshape(b, m, m, -1).norm(dim=-1)
    squares = strengths.square()
    total = float(squares.sum())
    norms = squares.sum(-1).sqrt().reshape(-1)
    count = len(pair.before.filters)
    matrix = channel_strengths(strengths, view.output_channels(pair.before), count) if m > 1 else None
    return LayerRelations(
        layer=pair.layer,
        kind=pair.kind,
        channels=count,
        slices=m,
        blocks=view.total,
        sampled=len(view.chosen),
        norm=total**0.5,
        residual=float((moved - reached).norm()) / length if length else None,
        slice_norms=tuple(norms.quantile(torch.tensor(_QUANTILES, dtype=norms.dtype)).tolist()),
        own=float(squares.diagonal(dim1=1, dim2=2).sum()) / total if total else None,
        own_if_even=1 / m,
        partners=_partners(squares),
        shown=tuple(shown.tolist()) if matrix is not None else (),
        matrix=rounded(matrix[shown][:, shown]) if matrix is not None else (),
        strongest=_strongest(matrix, strongest) if matrix is not None else (),
    )


def _partners(squares: Tensor) -> float | None:
    others = squares - torch.diag_embed(squares.diagonal(dim1=1, dim2=2))
    totals = others.sum(-1, keepdim=True)
    drawing = totals[..., 0] > 0
    if not bool(drawing.any()):
        return None
    shares = others[drawing] / totals[drawing]
    return float(torch.special.entr(shares).sum(-1).exp().mean())


def _strongest(matrix: Tensor, count: int) -> tuple[Relation, ...]:
    others = matrix.clone().fill_diagonal_(0)
    found = others.reshape(-1).topk(min(count, others.numel()))
    return tuple(
        Relation(at // len(matrix), at % len(matrix), strength)
        for strength, at in zip(found.values.tolist(), found.indices.tolist(), strict=True)
        if strength > 0
    )


def _relative(first: Tensor, last: Tensor) -> float | None:
    norm = float(first.norm())
    return float((last - first).norm()) / norm if norm else None


def _cosine(first: Tensor, last: Tensor) -> float | None:
    norms = float(first.norm() * last.norm())
    return max(-1.0, min(1.0, float(first @ last) / norms)) if norms else None


def _median(values: Tensor) -> float:
    """Return the median, the mean of the middle two for an even number of values."""
    return float(values.double().quantile(0.5))
