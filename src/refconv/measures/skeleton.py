"""Kernel skeletons: how much of a kernel's weight lies on its central cross.

The records; what they are computed from is in ``analysis/skeleton.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import change, text_table, times
from refconv.records import Record

_SHOWN = ("cross", "corners", "ratio", "cross_share")


@dataclass(frozen=True)
class TapMagnitudes(Record):
    """Where the magnitude of slices lies.

    Attributes:
        magnitudes: A per tap, in row-major order; the largest is 1. For several layers, the mean of theirs.
        cross: mean of A over the taps of the central cross, 0 to 1.
        corners: mean of A over the other taps; None if there are none.
        ratio: cross / corners: above 1 where the skeleton is stronger; None without corners, or where they are zero.
        cross_share: share of the whole magnitude that lies on the cross, 0 to 1.
    """

    magnitudes: tuple[float, ...]
    cross: float
    corners: float | None
    ratio: float | None
    cross_share: float


@dataclass(frozen=True)
class LayerSkeleton(Record):
    """One layer's skeleton in two models.

    Attributes:
        layer: the module's name.
        kind: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``.
        kernel_size: taps per dimension.
        before: of the first model; None if the kernel is all zero.
        after: of the second.
    """

    layer: str
    kind: str
    kernel_size: tuple[int, ...]
    before: TapMagnitudes | None
    after: TapMagnitudes | None


@dataclass(frozen=True)
class SizeSkeleton(Record):
    """The skeleton over all layers of one kernel size, each layer counting once.

    Attributes:
        kernel_size: taps per dimension.
        layers: how many layers have it, those of zeros left out.
        before: of the first model.
        after: of the second.
    """

    kernel_size: tuple[int, ...]
    layers: int
    before: TapMagnitudes
    after: TapMagnitudes


@dataclass(frozen=True)
class Skeletons(Record):
    """Kernel skeletons of two models.

    Attributes:
        layers: a row per layer.
        sizes: a row per kernel size, the most frequent first.
        stronger: share of layers whose ratio grew, 0 to 1; None if no layer has a ratio.
    """

    layers: tuple[LayerSkeleton, ...]
    sizes: tuple[SizeSkeleton, ...]
    stronger: float | None

    def __str__(self) -> str:
        header = ("layer", "kind", "kernel", "cross", "corners", "cross / corners", "share on the cross")
        rows = [(row.layer, row.kind, times(row.kernel_size), *_cells(row.before, row.after)) for row in self.layers]
        rows += [
            (
                f"all {times(row.kernel_size)}",
                "",
                f"{row.layers} layers" if row.layers > 1 else "1 layer",
                *_cells(row.before, row.after),
            )
            for row in self.sizes
        ]
        text = text_table(header, rows)
        return text if self.stronger is None else f"{text}\nskeleton stronger in {self.stronger:.0%} of layers"


def _cells(before: TapMagnitudes | None, after: TapMagnitudes | None) -> list[str]:
    return [change(getattr(before, name, None), getattr(after, name, None)) for name in _SHOWN]
