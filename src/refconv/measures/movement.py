"""How far each layer moved between two models, and whether along the patterns that its base kernels share.

The records; what they are computed from is in ``analysis/movement.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import number, text_table
from refconv.records import Record


@dataclass(frozen=True)
class LayerMovement(Record):
    """How one layer moved.

    Attributes:
        layer: the module's name.
        kind: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``.
        relative: |after - before| / |before|, 0 or more; None if the first kernel is all zero.
        cosine: between the two kernels as vectors, -1 to 1; None if one is all zero.
        alignment: <D, D G> / |D|^2 with G of mean eigenvalue one, 0 to k, 1 for isotropic movements; None if nothing
            moved.
        leading: share of |D|^2 in the leading directions, 0 to 1.
        leading_isotropic: the share that an isotropic movement has there.
        blocks: blocks of the layer.
        sampled: how many of them the last three were measured on.
    """

    layer: str
    kind: str
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
        alignment: mean over the layers that moved.
        leading: mean over the layers that moved.
        leading_isotropic: the same, for isotropic movements.
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
        names = ("relative", "cosine", "alignment", "leading", "leading_isotropic")
        header = ("layer", "kind", "relative distance", "cosine", "alignment", "leading share", "if isotropic")
        rows = [(row.layer, row.kind, *(number(getattr(row, name)) for name in names)) for row in self.layers]
        rows.append(("all", "", *(number(getattr(self, name)) for name in names)))
        return text_table(header, rows) + (f"\n{self.still} layers did not move" if self.still else "")
