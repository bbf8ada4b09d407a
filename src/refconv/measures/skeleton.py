"""Kernel skeletons: how much of a kernel's weight lies on its central cross; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from refconv.measures.direction import as_change, negligible
from refconv.measures.findings import Change
from refconv.measures.layers import Quantity, contrast_of, contrast_said, course_of, course_said
from refconv.measures.numbers import count, course, percent, times
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, changed, table_of
from refconv.measures.tables import times as crossed
from refconv.measures.verdict import JOURNAL, Said, Verdict, claim
from refconv.records import Record


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
class LayerSkeleton(LayerRecord):
    """One layer's skeleton in two models, None where the kernel is all zero; ``kernel_size`` is taps per dimension."""

    kernel_size: tuple[int, ...]
    before: TapMagnitudes | None
    after: TapMagnitudes | None


@dataclass(frozen=True)
class SizeSkeleton(Record):
    """The skeleton over all layers of one kernel size, each layer counting once, those of zeros left out."""

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
        names = {
            "cross": "cross",
            "corners": "corners",
            "cross / corners": "ratio",
            "share on the cross": "cross_share",
        }
        columns = {title: changed(name) for title, name in names.items()}
        sizes = [
            (
                f"all {crossed(row.kernel_size)}",
                "",
                f"{row.layers} layers" if row.layers > 1 else "1 layer",
                *(column(row) for column in columns.values()),
            )
            for row in self.sizes
        ]
        leading = {"layer": "layer", "kind": "kind", "kernel": "kernel_size"}
        text = table_of(self.layers, {**leading, **columns}, *sizes)
        return text if self.stronger is None else f"{text}\nskeleton stronger in {self.stronger:.0%} of layers"


RATIO = Quantity("ratio of cross to corners", "ratio")

_WORDS: dict[Change, str] = {
    "better": "The ratio of cross to corners grew",
    "worse": "The ratio of cross to corners shrank",
    "same": "The ratio of cross to corners stayed the same",
    "unclear": "The ratio of cross to corners shows no clear direction over the layers",
}


def _findings(item: Measured) -> Iterator[Said]:
    """Yield where the ratio went, and where the magnitudes of the most frequent size lie unless it is all cross."""
    yield course_said(item, RATIO, "up")
    row = next((row for row in item.record.sizes if row.before.corners is not None), None)
    if row:
        first, last = row.before.cross_share, row.after.cross_share
        text = (
            f"In {count(row.layers, 'layer')} of {times(row.kernel_size)} taps the share of magnitude on the cross "
            f"{course(percent, first, last)}; a flat kernel has {percent(_flat_share(row))}."
        )
        yield text, "same" if negligible(first, last) else "different"


def _flat_share(row: Any) -> float:
    """Return the share of taps on the cross, from the means over cross and corners and the cross' share."""
    side = row.before
    cross_taps = round(side.cross_share * sum(side.magnitudes) / side.cross) if side.cross else len(side.magnitudes)
    return cross_taps / len(side.magnitudes)


SKELETON = Verdict(
    "skeleton",
    _findings,
    lambda subject, reference: (contrast_said(subject, reference, RATIO, "up"),),
    lambda items: claim(
        "Refocusing strengthens skeletons: the ratio of cross to corners grows.",
        JOURNAL,
        items,
        lambda item: as_change(course_of(item, RATIO).way, "up"),
        _WORDS,
        lambda item, plain: as_change(contrast_of(item, plain, RATIO).way, "up"),
    ),
)
