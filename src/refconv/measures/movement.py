"""How far each layer moved, and whether along the patterns that its base kernels share; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from refconv.measures.direction import NEGLIGIBLE, as_change, direction, tally
from refconv.measures.layers import Quantity, contrast_said
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class LayerMovement(LayerRecord):
    """How one layer moved.

    Attributes:
        relative: |after - before| / |before|, 0 or more; None if the first kernel is all zero.
        cosine: between the two kernels as vectors, -1 to 1; None if one is all zero.
        alignment: <D, D G> / |D|^2 with G of mean eigenvalue one, 0 to k, 1 for isotropic movements; None if nothing
            moved.
        leading: share of |D|^2 in the leading directions, 0 to 1.
        leading_isotropic: the share that an isotropic movement has there.
        blocks: blocks of the layer.
        sampled: how many of them the last three were measured on.
    """

    relative: float | None
    cosine: float | None
    alignment: float | None
    leading: float | None
    leading_isotropic: float | None
    blocks: int
    sampled: int


@dataclass(frozen=True)
class Movement(Record):
    """How the kernels of a model moved.

    Attributes:
        layers: a row per layer.
        relative: over all kernels together, |after - before| / |before|; None if they are all zero.
        cosine: over all kernels together.
        alignment: mean over the layers that moved; so are ``leading`` and ``leading_isotropic``.
        still: number of layers that did not move at all.
        map_size: of the refocusing map, as asked for.
        order: how slices are gathered into blocks.
        seed: of the samples of blocks.
    """

    layers: tuple[LayerMovement, ...]
    relative: float | None
    cosine: float | None
    alignment: float | None
    leading: float | None
    leading_isotropic: float | None
    still: int
    map_size: tuple[int, ...]
    order: str
    seed: int

    def __str__(self) -> str:
        columns = {
            "layer": "layer",
            "kind": "kind",
            "relative distance": "relative",
            "cosine": "cosine",
            "alignment": "alignment",
            "leading share": "leading",
            "if isotropic": "leading_isotropic",
        }
        of_all = ("all", "", self.relative, self.cosine, self.alignment, self.leading, self.leading_isotropic)
        return table_of(self.layers, columns, of_all) + (f"\n{self.still} layers did not move" if self.still else "")


RELATIVE = Quantity("relative distance", "relative", sides=False)
ALIGNMENT = Quantity("alignment with the Gram", "alignment", sides=False)


def _findings(item: Measured) -> Iterator[Said]:
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
    change = "different" if relative >= NEGLIGIBLE else "same"
    return f"{text}; the cosine with the start is {number(item.record.cosine, 4)}.", change


MOVEMENT = Verdict(
    "movement",
    _findings,
    lambda subject, reference: (contrast_said(subject, reference, one) for one in (RELATIVE, ALIGNMENT)),
)
