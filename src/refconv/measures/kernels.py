"""Kernels to look at, their skeletons and their principal components; the records and their verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import hypot, prod
from statistics import median
from typing import Any

from refconv.measures import layers
from refconv.measures.judging import Change
from refconv.measures.numbers import compared, count, course, number, percent, times
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, cell, changed, table_of
from refconv.measures.verdict import JOURNAL, Said, Verdict, claim, worded
from refconv.records import Record

Taps = Sequence[float]


@dataclass(frozen=True)
class LayerKernels(LayerRecord):
    """Some slices of one layer in two models."""

    kernel_size: tuple[int, ...]  #: taps per dimension
    slices: int  #: how many the layer has
    chosen: tuple[int, ...]  #: which of them are given: numbers in the order of output channels, ascending
    before: tuple[tuple[float, ...], ...]  #: a row per chosen slice, its taps in row-major order, of the first model
    after: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class KernelSamples(Record):
    """The same slices of two models, at most ``shown`` of a layer, drawn with a seed."""

    layers: tuple[LayerKernels, ...]
    shown: int
    seed: int

    def __str__(self) -> str:
        given = ("given", lambda row: len(row.chosen))
        return table_of(self.layers, "layer", "kind", ("kernel", "kernel_size"), "slices", given)


def _kernels_findings(item: Measured) -> Iterator[Said]:
    """Yield by how much the shown kernels of a layer changed, as a share of their length."""
    shares = [(share, row.layer) for row in item.record.layers if (share := relative(row)) is not None]
    most, layer = max(shares, default=(0.0, ""))
    if not shares:
        yield "The kernels of the start that are shown are all zero.", "unclear"
        return
    if most == 0:
        yield "None of the kernels that are shown changed.", "same"
        return
    middle = median(share for share, _ in shares)
    text = f"The kernels shown of {layer}, the only layer, differ by {percent(most)} of their length."
    if len(shares) > 1:
        text = (
            f"The kernels shown differ by {percent(middle)} of their length in the median of {len(shares)} layers, "
            f"most in {layer}, by {percent(most)}."
        )
    yield text, layers.moved(middle)


def relative(row: Any) -> float | None:
    """Return the length of a layer's change over the length of its start; None if that is zero."""
    length = length_of(row.before)
    return length_of(difference(row)) / length if length else None


def length_of(kernels: Sequence[Taps]) -> float:
    """Return the root of the square sum of all taps."""
    return hypot(*(tap for kernel in kernels for tap in kernel))


def difference(row: Any) -> list[list[float]]:
    """Return the kernels after less those before."""
    both = zip(row.before, row.after, strict=True)
    return [[last - first for first, last in zip(before, after, strict=True)] for before, after in both]


def plane(taps: Taps, kernel_size: Sequence[int]) -> list[list[float]]:
    """Return taps in row-major order as rows that can be drawn; none for kernels of three dimensions.

    Dimensions of one tap do not count, and kernels of one dimension are a row, or a column if they stand upright.

    Raises:
        ValueError: if there are not as many taps as the kernel has.
    """
    if len(taps) != prod(kernel_size):
        raise ValueError(f"expected {prod(kernel_size)} taps of a kernel {tuple(kernel_size)}, found {len(taps)}")
    if not drawable(kernel_size):
        return []
    sizes = list(kernel_size)
    if len(sizes) != 2:
        sizes = [size for size in sizes if size > 1]
    wide = sizes[-1] if sizes else 1
    return [list(taps[start : start + wide]) for start in range(0, len(taps), wide)]


def drawable(kernel_size: Sequence[int]) -> bool:
    """Return whether a kernel has at most two dimensions of more than one tap."""
    return sum(size > 1 for size in kernel_size) <= 2


KERNELS = Verdict("kernels", _kernels_findings)


@dataclass(frozen=True)
class TapMagnitudes(Record):
    """Where the magnitude of slices lies."""

    magnitudes: tuple[float, ...]  #: A per tap, in row-major order, the largest 1; the mean of those of several layers
    cross: float  #: mean of A over the taps of the central cross, 0 to 1
    corners: float | None  #: mean of A over the other taps; None if there are none
    ratio: float | None  #: cross / corners, above 1 for a stronger skeleton; None without corners, or where they are 0
    cross_share: float  #: share of the whole magnitude that lies on the cross, 0 to 1


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
    """Kernel skeletons of two models."""

    layers: tuple[LayerSkeleton, ...]
    sizes: tuple[SizeSkeleton, ...]  #: a row per kernel size, the most frequent first
    stronger: float | None  #: share of layers whose ratio grew, 0 to 1; None if no layer has a ratio

    def __str__(self) -> str:
        means = changed("cross"), changed("corners"), changed("ratio", "cross / corners")
        columns = *means, changed("cross_share", "share on the cross")
        sizes = [
            (f"all {cell(row.kernel_size)}", "", count(row.layers, "layer"), *(of(row) for _, of in columns))
            for row in self.sizes
        ]
        text = table_of(self.layers, "layer", "kind", ("kernel", "kernel_size"), *columns, below=sizes)
        return text if self.stronger is None else f"{text}\nskeleton stronger in {self.stronger:.0%} of layers"


RATIO = layers.Quantity("ratio of cross to corners", "ratio")

_WORDS: dict[Change, str] = {
    "better": "The ratio of cross to corners grew",
    "worse": "The ratio of cross to corners shrank",
    "same": "The ratio of cross to corners stayed the same",
    "unclear": "The ratio of cross to corners shows no clear direction over the layers",
}


def _skeleton_findings(item: Measured) -> Iterator[Said]:
    """Yield where the ratio went, and where the magnitudes of the most frequent size lie unless it is all cross."""
    yield layers.course_said(item, RATIO, "up")
    row = next((row for row in item.record.sizes if row.before.corners is not None), None)
    if row:
        first, last = row.before.cross_share, row.after.cross_share
        text = (
            f"In {count(row.layers, 'layer')} of {times(row.kernel_size)} taps the share of magnitude on the cross "
            f"{course(percent, first, last)}; a flat kernel has {percent(_flat_share(row))}."
        )
        yield text, layers.change_of(first, last)


def _flat_share(row: Any) -> float:
    """Return the share of taps on the cross, from the means over cross and corners and the cross' share."""
    side = row.before
    cross_taps = round(side.cross_share * sum(side.magnitudes) / side.cross) if side.cross else len(side.magnitudes)
    return cross_taps / len(side.magnitudes)


SKELETON = Verdict(
    "skeleton",
    _skeleton_findings,
    layers.contrasts_of(RATIO, good="up"),
    lambda items: claim(
        "Refocusing strengthens skeletons: the ratio of cross to corners grows.",
        JOURNAL,
        items,
        lambda item: worded(layers.as_change(layers.course_of(item, RATIO).way, "up"), _WORDS),
        lambda item, plain: layers.as_change(layers.contrast_of(item, plain, RATIO).way, "up"),
    ),
)


@dataclass(frozen=True)
class SizeComponents(Record):
    """The slices of one kernel size in two models."""

    kernel_size: tuple[int, ...]  #: taps per dimension, product k
    layers: int  #: how many layers have it
    slices: int  #: how many slices they hold
    sampled: int  #: how many of them were used, the same ones in both models
    explained_before: tuple[float, ...]  #: explained variance ratios of the first model's own components, descending
    explained_after: tuple[float, ...]
    explained: tuple[float, ...]  #: of the shared components
    #: the shared components of largest variance, unit vectors over the taps in row-major order; the sign is such that
    #: the largest entry is positive
    components: tuple[tuple[float, ...], ...]
    shift: float  #: D between the two models, in nats, 0 or more
    shift_of_components: tuple[float, ...]  #: KL(P_i || Q_i) + KL(Q_i || P_i) of every component
    chance: float  #: D when before and after are exchanged for slices drawn at random, the mean of a few draws


@dataclass(frozen=True)
class FilterComponents(Record):
    """Shared components and shift per kernel size, the one of most slices first; ``seed``: of sample and exchanges."""

    sizes: tuple[SizeComponents, ...]
    seed: int

    def __str__(self) -> str:
        def leading(side: str) -> Callable[[Any], str]:
            return lambda row: " ".join(f"{ratio:.1%}" for ratio in getattr(row, f"explained_{side}")[:LEADING])

        explained = ("explained by the first three, before", leading("before")), ("after", leading("after"))
        shift = ("shift, nats", "shift"), ("by chance", "chance")
        return table_of(self.sizes, ("kernel", "kernel_size"), "slices", *explained, *shift)


BEYOND = 2.0  #: Times the shift by chance from which on a shift counts as one
LEADING = 3  #: Components whose explained variance sentences add up
Size = tuple[int, ...]


def of_size(item: Measured, size: Size) -> Any:
    """Return what a record says of a kernel size; None if it does not hold it."""
    return next((row for row in item.record.sizes if tuple(row.kernel_size) == size), None)


def _components_findings(item: Measured) -> Iterator[Said]:
    for row in item.record.sizes:
        what = f"the {times(row.kernel_size)} kernels ({count(row.slices, 'slice')})"
        shifts = f"shift by {number(row.shift)} nats; exchanged at random they shift by {number(row.chance)}"
        if row.shift == 0:
            yield f"The patterns of {what} did not shift at all.", "same"
        elif row.shift > BEYOND * row.chance:
            yield f"The patterns of {what} {shifts}, so the distribution changed.", "different"
        else:
            yield f"The patterns of {what} {shifts}, so no change of the distribution can be told.", "unclear"
        first, last = sum(row.explained_before[:LEADING]), sum(row.explained_after[:LEADING])
        taps = len(row.explained_before)
        leading = f"{LEADING} of {taps} components" if taps > LEADING else count(taps, "component")
        what = f"The variance of the {times(row.kernel_size)} kernels that the first {leading} explain"
        yield f"{what} {course(percent, first, last)}.", layers.change_of(first, last)


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    """Compare the shifts of the kernel size of the most slices."""
    row = subject.record.sizes[0]
    size = tuple(row.kernel_size)
    other = of_size(reference, size)
    if other is None:
        yield f"{reference.name} has no {times(size)} kernels to compare with those of {subject.name}.", "unclear"
        return
    ends = compared(lambda value: f"{number(value)} nats", reference.name, row.shift, other.shift)
    text = f"From the start to {subject.name} the {times(size)} kernels shift by {ends}"
    chance = max(row.chance, other.chance)
    if row.shift == other.shift:
        yield f"{text}.", "same"
    elif abs(row.shift - other.shift) > chance:
        yield f"{text}; that is more than the {number(chance)} nats of chance.", "different"
    else:
        yield f"{text}; the difference is no more than the {number(chance)} nats of chance.", "unclear"


COMPONENTS = Verdict("components", _components_findings, _contrasts)
