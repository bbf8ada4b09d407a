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
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from refconv.analysis.blocks import BlockView, view_blocks
from refconv.analysis.pairs import KernelPair, pair_kernels, sampled
from refconv.analysis.tables import mean, number, text_table
from refconv.config import RefocusConfig
from refconv.layers import Selection
from refconv.ops import Order, Scale, refocused_blocks, smallest_refocus_weight
from refconv.records import Record

_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Relation(Record):
    """How strongly one channel's kernel draws on another's.

    Attributes:
        channel: the output channel that draws.
        source: the one that it draws on.
        strength: S between them, in units of the refocus weight.
    """

    channel: int
    source: int
    strength: float


@dataclass(frozen=True)
class LayerRelations(Record):
    """The refocus weight of one layer.

    Attributes:
        layer: the module's name.
        kind: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``.
        channels: output channels.
        slices: slices m of a block.
        blocks: blocks of the layer.
        sampled: how many of them were looked at.
        norm: Frobenius norm of R over these blocks.
        residual: |D - R P| / |D| over these blocks, 0 (reached) to 1 (out of reach); None if nothing moved.
        slice_norms: norms of R's rows, one a slice: least, quartiles, largest.
        own: share of |R|^2 that slices draw from themselves, 0 to 1; 1 in dense layers. None if R is zero.
        own_if_even: what that share would be if slices drew on all slices of their block alike, 1 / m.
        partners: effective number of other slices that a slice draws on, exp(H) of its shares of |R|^2 off itself,
            1 to m - 1, the mean over slices; None without any.
        shown: which output channels the matrix holds.
        matrix: S between them [shown, shown], a row for each that draws; empty for dense layers.
        strongest: the strongest relations between different channels, descending.
    """

    layer: str
    kind: str
    channels: int
    slices: int
    blocks: int
    sampled: int
    norm: float
    residual: float | None
    slice_norms: tuple[float, ...]
    own: float | None
    own_if_even: float
    partners: float | None
    shown: tuple[int, ...]
    matrix: tuple[tuple[float, ...], ...]
    strongest: tuple[Relation, ...]


@dataclass(frozen=True)
class Relations(Record):
    """Refocus weights that lead from one model to another.

    Attributes:
        layers: a row per layer.
        residual: mean over the layers that moved.
        own: mean share of |R|^2 that slices draw from themselves, over layers whose blocks hold several slices.
        own_if_even: the same if slices drew on all alike.
        map_size: of the refocusing map, as asked for.
        order: how slices are gathered into blocks.
        scale: of the refocus weights.
        power: of the Gram.
        seed: of the samples.
    """

    layers: tuple[LayerRelations, ...]
    residual: float | None
    own: float | None
    own_if_even: float | None
    map_size: tuple[int, ...]
    order: str
    scale: str
    power: float
    seed: int

    def __str__(self) -> str:
        names = ("norm", "residual", "own", "own_if_even", "partners")
        header = ("layer", "kind", "blocks", "slices each", "norm of R", "residual", "own share", "if even", "partners")
        rows = [
            (
                row.layer,
                row.kind,
                f"{row.sampled:,} of {row.blocks:,}" if row.sampled < row.blocks else f"{row.blocks:,}",
                f"{row.slices:,}",
                *(number(getattr(row, name)) for name in names),
            )
            for row in self.layers
        ]
        residual, own, even = number(self.residual), number(self.own), number(self.own_if_even)
        text = (
            f"out of reach {residual} of the movement in the mean; where slices meet, own share {own} ({even} if even)"
        )
        return f"{text_table(header, rows)}\n{text}"


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
