"""Who relates to whom: the refocus weight that leads from one model to another, as strengths between channels.

The records; what they are computed from is in ``analysis/relations.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from refconv.measures.tables import number, text_table
from refconv.records import Record, with_scale


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

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Relations:
        """Read a record back; those of earlier versions said ``normalize`` for a scale."""
        return super().from_dict(with_scale(data))

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
