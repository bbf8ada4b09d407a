"""Which channels' kernels refocusing draws on: the refocus weight between two models; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.measures.layers import Quantity, contrast_said, means
from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, part, short, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record, with_scale


@dataclass(frozen=True)
class Relation(Record):
    """How strongly the kernel of output ``channel`` draws on that of ``source``: S, in units of the refocus weight."""

    channel: int
    source: int
    strength: float


@dataclass(frozen=True)
class LayerRelations(LayerRecord):
    """The refocus weight of one layer.

    Attributes:
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
        columns = {
            "layer": "layer",
            "kind": "kind",
            "blocks": part("sampled", "blocks"),
            "slices each": "slices",
            "norm of R": "norm",
            "residual": "residual",
            "own share": "own",
            "if even": "own_if_even",
            "partners": "partners",
        }
        own = f"own share {short(self.own)} ({short(self.own_if_even)} if even)"
        text = f"out of reach {short(self.residual)} of the movement in the mean; where slices meet, {own}"
        return f"{table_of(self.layers, columns)}\n{text}"


_ROUNDING = 1e-9


def among_others(row: Any) -> float | None:
    """Return the share that slices draw from others; None where they meet none."""
    return 1 - row.own if row.own is not None and row.slices > 1 else None


def _residual(row: Any) -> float | None:
    """Return the part out of reach, without what is rounding."""
    value: float | None = row.residual
    return 0.0 if value is not None and value < _ROUNDING else value


RESIDUAL = Quantity("part out of reach", _residual, sides=False, show=percent)
OTHERS = Quantity("share drawn from other slices", among_others, sides=False, show=percent)
PARTNERS = Quantity("number of partners of a slice", "partners", sides=False)


def shown(items: Sequence[Measured]) -> tuple[Quantity, ...]:
    """Return the quantities that mean something for these pairs."""
    meet = any(row.slices > 1 for item in items for row in item.record.layers)
    return (OTHERS, PARTNERS, RESIDUAL) if meet else (RESIDUAL,)


def _findings(item: Measured) -> Iterator[Said]:
    yield _headline(item)
    residual, moved = item.record.residual, sum(row.residual is not None for row in item.record.layers)
    mean = f", the mean of {moved} layers" if moved > 1 else ""
    if residual is not None and residual < _ROUNDING:
        yield "Refocusing from this start can reach all of the change.", "different"
    elif residual is not None:
        text = f"Refocusing from this start cannot reach {percent(residual)} of the length of the change{mean}."
        yield text, "different"


def _headline(item: Measured) -> Said:
    rows, own, even = item.record.layers, item.record.own, item.record.own_if_even
    if not any(row.norm for row in rows):
        return "Nothing moved that refocusing could reach: no slice draws on any.", "same"
    if own is None or even is None:
        return (
            "In none of the layers that moved do slices meet others, so that each draws on itself alone.",
            "different",
        )
    partners = means([item], PARTNERS)[item.name]
    meeting = sum(among_others(row) is not None for row in rows)
    on = f", on {number(partners)} of them in effect" if partners is not None else ""
    text = (
        f"In {count(meeting, 'layer')} where slices meet others they draw {percent(1 - own)} of the refocus weight "
        f"from them ({percent(1 - even)} if they drew on all alike){on}."
    )
    return text, "different"


RELATIONS = Verdict(
    "relations",
    _findings,
    lambda subject, reference: (contrast_said(subject, reference, shown([subject, reference])[0]),),
)
