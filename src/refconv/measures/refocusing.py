"""How layers moved, which kernels refocusing draws on, and the spectrum of the Gram; the records and their verdicts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.measures.layers import Quantity, as_change, contrast_said, contrasts_of, direction, means, moved, tally
from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, sampled, short, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record, with_scale


@dataclass(frozen=True)
class LayerMovement(LayerRecord):
    """How one layer moved."""

    relative: float | None  #: |after - before| / |before|, 0 or more; None if the first kernel is all zero
    cosine: float | None  #: between the two kernels as vectors, -1 to 1; None if one is all zero
    alignment: float | None  #: <D, D G> / |D|^2, mean eigenvalue one: 0 to k, 1 if isotropic; None if nothing moved
    leading: float | None  #: share of |D|^2 in the leading directions, 0 to 1
    leading_isotropic: float | None  #: the share that an isotropic movement has there
    blocks: int  #: blocks of the layer
    sampled: int  #: how many of them the last three were measured on


@dataclass(frozen=True)
class Movement(Record):
    """How the kernels of a model moved."""

    layers: tuple[LayerMovement, ...]
    relative: float | None  #: over all kernels together, |after - before| / |before|; None if they are all zero
    cosine: float | None  #: over all kernels together
    alignment: float | None  #: mean over the layers that moved; so are ``leading`` and ``leading_isotropic``
    leading: float | None
    leading_isotropic: float | None
    still: int  #: number of layers that did not move at all
    map_size: tuple[int, ...]  #: of the refocusing map, as asked for
    order: str  #: how slices are gathered into blocks
    seed: int  #: of the samples of blocks

    def __str__(self) -> str:
        of_all = ("all", "", self.relative, self.cosine, self.alignment, self.leading, self.leading_isotropic)
        leading = ("leading share", "leading"), ("if isotropic", "leading_isotropic")
        columns = "layer", "kind", ("relative distance", "relative"), "cosine", "alignment", *leading
        still = f"\n{self.still} layers did not move" if self.still else ""
        return table_of(self.layers, *columns, below=[of_all]) + still


RELATIVE = Quantity("relative distance", "relative", sides=False)
ALIGNMENT = Quantity("alignment with the Gram", "alignment", sides=False)


def _movement_findings(item: Measured) -> Iterator[Said]:
    yield _distance(item)
    # every layer beside 1, the alignment of an isotropic movement
    found = direction([(1.0 if (value := row.alignment) is not None else None, value) for row in item.record.layers])
    if found.after is None:
        yield "Nothing moved, so there is no alignment.", "unclear"
        return
    what = "The alignment" if found.layers == 1 else "The mean alignment"
    text = f"{what} is {number(found.after)}, where an isotropic movement has 1 ({tally(found, 'above', 'below')})."
    yield text, as_change(found.way), found.p


def _distance(item: Measured) -> Said:
    relative = item.record.relative
    if relative is None:
        return "The kernels of the start are all zero: no distance can be told.", "unclear"
    if relative == 0:
        return "No kernel moved.", "same"
    rows = [row for row in item.record.layers if row.relative is not None]
    farthest = max(rows, key=lambda row: row.relative)
    most = f"; farthest moved {farthest.layer}, by {percent(farthest.relative)}" if len(rows) > 1 else ""
    text = f"The kernels moved by {percent(relative)} of their length, all together{most}"
    return f"{text}; the cosine with the start is {number(item.record.cosine, 4)}.", moved(relative)


MOVEMENT = Verdict("movement", _movement_findings, contrasts_of(RELATIVE, ALIGNMENT))


@dataclass(frozen=True)
class Relation(Record):
    """How strongly the kernel of output ``channel`` draws on that of ``source``: S, in units of the refocus weight."""

    channel: int
    source: int
    strength: float


@dataclass(frozen=True)
class LayerRelations(LayerRecord):
    """The refocus weight of one layer."""

    channels: int  #: output channels
    slices: int  #: slices m of a block
    blocks: int  #: blocks of the layer
    sampled: int  #: how many of them were looked at
    norm: float  #: Frobenius norm of R over these blocks
    residual: float | None  #: |D - R P| / |D| over these blocks, 0 (reached) to 1 (out of reach); None if nothing moved
    slice_norms: tuple[float, ...]  #: norms of R's rows, one a slice: least, quartiles, largest
    own: float | None  #: share of |R|^2 that slices draw from themselves, 0 to 1; 1 in dense layers. None if R is zero
    own_if_even: float  #: what that share would be if slices drew on all slices of their block alike, 1 / m
    #: effective number of other slices that a slice draws on, exp(H) of its shares of |R|^2 off itself, 1 to m - 1, the
    #: mean over slices; None without any
    partners: float | None
    shown: tuple[int, ...]  #: which output channels the matrix holds
    matrix: tuple[tuple[float, ...], ...]  #: S between them [shown, shown], a row for each that draws; empty if dense
    strongest: tuple[Relation, ...]  #: the strongest relations between different channels, descending


@dataclass(frozen=True)
class Relations(Record):
    """Refocus weights that lead from one model to another."""

    layers: tuple[LayerRelations, ...]
    residual: float | None  #: mean over the layers that moved
    own: float | None  #: mean share that slices draw from themselves, over layers whose blocks hold several slices
    own_if_even: float | None  #: the same if slices drew on all alike
    map_size: tuple[int, ...]  #: of the refocusing map, as asked for
    order: str  #: how slices are gathered into blocks
    scale: str  #: of the refocus weights
    power: float  #: of the Gram
    seed: int  #: of the samples

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Relations:
        """Read a record back; those of earlier versions said ``normalize`` for a scale."""
        return super().from_dict(with_scale(data))

    def __str__(self) -> str:
        shares = ("own share", "own"), ("if even", "own_if_even"), "partners"
        columns = sampled("blocks"), ("slices each", "slices"), ("norm of R", "norm"), "residual", *shares
        own = f"own share {short(self.own)} ({short(self.own_if_even)} if even)"
        text = f"out of reach {short(self.residual)} of the movement in the mean; where slices meet, {own}"
        return f"{table_of(self.layers, 'layer', 'kind', *columns)}\n{text}"


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


def _relations_findings(item: Measured) -> Iterator[Said]:
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
        text = "In none of the layers that moved do slices meet others, so that each draws on itself alone."
        return text, "different"
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
    _relations_findings,
    lambda subject, reference: (contrast_said(subject, reference, shown([subject, reference])[0]),),
)


@dataclass(frozen=True)
class LayerSpectrum(LayerRecord):
    """Eigenvalues of the Grams of one layer's blocks; blocks of zeros are left out."""

    kernel_size: tuple[int, ...]  #: taps per dimension, product k
    blocks: int  #: blocks of the layer
    sampled: int  #: how many of them were looked at
    eigenvalues: tuple[float, ...]  #: over their mean, descending, the mean over blocks of each [k]; they sum to k
    mean_eigenvalue: float  #: trace(G) / k, the mean over blocks: the factor that refocusing puts on the learning rate
    rank: float | None  #: eigenvalues that are not zero to rounding, 1 to min(k, m t); the median over blocks
    condition: float | None  #: largest over smallest eigenvalue that is not zero, 1 or more; the median over blocks
    effective_rank: float | None  #: exp(H), H the entropy of the eigenvalues as shares, 1 to k; the median over blocks


@dataclass(frozen=True)
class GramSpectra(Record):
    """Spectra of a model's Grams."""

    layers: tuple[LayerSpectrum, ...]
    effective_share: float | None  #: mean over layers of the effective rank over k; 1 is plain training's even spectrum
    condition: float | None  #: median over layers of the condition number
    map_size: tuple[int, ...]  #: of the refocusing map, as asked for
    order: str  #: how slices are gathered into blocks
    seed: int  #: of the samples of blocks

    def __str__(self) -> str:
        columns = ("kernel", "kernel_size"), sampled("blocks"), "mean_eigenvalue", "rank", "condition", "effective_rank"
        share, condition = short(self.effective_share), short(self.condition)
        text = f"effective rank over taps {share} in the mean, condition {condition} in the median over layers"
        return f"{table_of(self.layers, 'layer', 'kind', *columns)}\n{text}"


def _spectrum_findings(item: Measured) -> Iterator[Said]:
    record = item.record
    if record.condition is None or record.effective_share is None:
        yield "The kernels of the start are all zero: refocusing cannot move them.", "same"
        return
    where, mean = ("its only layer", "") if len(record.layers) == 1 else ("the median layer", " in the mean")
    text = (
        f"A property of the start, the same before and after: in {where} the fastest pattern learns "
        f"{number(record.condition)} times as fast as the slowest when refocused, and the effective rank is "
        f"{percent(record.effective_share)} of the taps{mean}."
    )
    yield text, "same"


SPECTRUM = Verdict("spectrum", _spectrum_findings)
