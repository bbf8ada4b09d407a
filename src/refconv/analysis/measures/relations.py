"""Who relates to whom: the refocus weight that leads from one model to another, as strengths between channels.

Whatever trained the second model, its kernels are base + R P with a refocus weight R of least norm,

    R = D P^+ = D G^+ P^T,    D = after - before                       (docs/math.md, "R is not lost")

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

import torch
from torch import Tensor, nn

from refconv.analysis.blocks import BlockView, view_blocks
from refconv.analysis.pairs import KernelPair, pair_kernels, sampled
from refconv.config import RefocusConfig
from refconv.layers import Selection
from refconv.measures.refocusing import LayerRelations, Relation, Relations
from refconv.measures.tables import mean
from refconv.ops import Order, Scale, refocused_blocks, smallest_refocus_weight

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


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
    """Recover the refocus weights that lead from one model to another, and who relates to whom in them.

    Args:
        before: the base, a plain model.
        after: what training made of it, plain and of the same architecture.
        include: layers to look at, as in :func:`refconv.layers.select`; by default all kernels of more than one tap.
        exclude: layers to leave out.
        map_size: as in :func:`refconv.refocus`, and as in training if R is to be the one trained.
        order: the same.
        scale: the same.
        power: the same.
        shown: the most output channels in a matrix; a sample of a larger layer.
        strongest: how many relations between different channels to name.
        seed: of the samples.

    Raises:
        ModelError: if the models do not hold the same convolutions, or one of them cannot be measured.
        SettingError: if the map size or the order does not exist.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> before, after = nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)
        >>> after.weight = nn.Parameter(3 * before.weight.detach())  # R is 2 at the centre of the map
        >>> round(relations(before, after, scale="paper").layers[0].norm, 4)
        2.0
    """
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        view = view_blocks(pair.before, map_size, order, seed)
        rows.append(_of_pair(pair, view, scale, power, sampled(len(pair.before.filters), shown, seed), strongest))
    meeting = [row for row in rows if row.slices > 1]
    return Relations(
        layers=tuple(rows),
        residual=mean([row.residual for row in rows]),
        own=mean([row.own for row in meeting]),
        own_if_even=mean([row.own_if_even for row in meeting]),
        map_size=(map_size,) if isinstance(map_size, int) else tuple(map_size),
        order=order,
        scale=scale,
        power=power,
        seed=seed,
    )


def channel_strengths(strengths: Tensor, channels: Tensor, count: int) -> Tensor:
    """Return the strengths between output channels [count, count] from those between slices.

    Args:
        strengths: S [b, m, m] between the slices of blocks.
        channels: the output channel of each slice [b, m].
        count: number of output channels.
    """
    at = channels[:, :, None] * count + channels[:, None, :]
    squares = torch.zeros(count * count, dtype=strengths.dtype)
    squares.index_add_(0, at.reshape(-1), strengths.square().reshape(-1))
    return squares.sqrt().reshape(count, count)


def _of_pair(
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
        slice_norms=tuple(
            squares.sum(-1).sqrt().reshape(-1).quantile(torch.tensor(_QUANTILES, dtype=squares.dtype)).tolist()
        ),
        own=float(squares.diagonal(dim1=1, dim2=2).sum()) / total if total else None,
        own_if_even=1 / m,
        partners=_partners(squares),
        shown=tuple(shown.tolist()) if matrix is not None else (),
        matrix=_rounded(matrix[shown][:, shown]) if matrix is not None else (),
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


def _rounded(matrix: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{value:.4g}") for value in line) for line in matrix.tolist())
