"""What models compute: similarity of features, attention maps, receptive fields; the records and their verdicts."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from refconv.measures.judging import Change
from refconv.measures.numbers import compared, count, course, number, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import Sampled, counted, short, table_of, text_table, times
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class LayerSimilarity(Record):
    """Linear CKA of one layer's features in two models."""

    layer: str  #: the module's name
    cka: float | None  #: -1 to 1, 1 for equal up to rotation and scale; None if constant in one of the models


@dataclass(frozen=True)
class Similarity(Sampled):
    """Linear CKA between two models."""

    layers: tuple[LayerSimilarity, ...]  #: a row per layer, in the order of the first model's modules
    mean: float | None  #: mean over layers where it is defined
    matrix_layers: tuple[str, ...]  #: names of the layers in ``matrix``, evenly spread if there are many
    matrix: tuple[tuple[float | None, ...], ...]  #: CKA of the first model's layers (rows) with the second's (columns)
    left_out: dict[str, str]  #: layers that were not compared, and why

    def __str__(self) -> str:
        lines = [table_of(self.layers, "layer", ("CKA", "cka"))]
        lines += [f"{layer} left out: {reason}" for layer, reason in self.left_out.items()]
        return "\n".join([*lines, f"mean {short(self.mean)} over {counted(self)}"])


_SIMILARITY_ALIKE = 0.98  #: CKA from which on features count as the same
_SIMILARITY_CLOSE = 0.005  #: Difference of mean CKA up to which two pairs count as the same; the record has no error


def _known(item: Measured) -> dict[str, float]:
    return {row.layer: row.cka for row in item.record.layers if row.cka is not None}


def _similarity_findings(item: Measured) -> Iterator[Said]:
    known = _known(item)
    if not known:
        yield "CKA is defined in no layer: the features do not vary between the samples.", "unclear"
        return
    least = min(known, key=lambda layer: known[layer])
    text = f"The features of {least}, the only layer compared, agree with a CKA of {number(known[least])}."
    if len(known) > 1:
        text = (
            f"The features of {count(len(known), 'layer')} agree with a mean CKA of {number(item.record.mean)}; "
            f"least alike are those of {least}, {number(known[least])}."
        )
    yield text, "same" if known[least] >= _SIMILARITY_ALIKE else "different"


def _similarity_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = subject.record.mean, reference.record.mean
    if mine is None or theirs is None:
        yield f"{subject.name} and {reference.name} cannot be compared: one of them has no mean CKA.", "unclear"
        return
    others = _known(reference)
    both = [(cka, others[layer]) for layer, cka in _known(subject).items() if layer in others]
    farther = f"{sum(one < other for one, other in both)} of {count(len(both), 'layer')}"
    text = (
        f"With the start {subject.name} has a mean CKA of {compared(number, reference.name, mine, theirs)}; its "
        f"features are farther from the start in {farther}."
    )
    yield text, "same" if abs(mine - theirs) <= _SIMILARITY_CLOSE else "different"


SIMILARITY = Verdict("similarity", _similarity_findings, _similarity_contrasts)


@dataclass(frozen=True)
class AttendedImage(Record):
    """One image and what of it speaks for its class."""

    place: int  #: its number in the data, from 0
    target: int  #: its class, which the maps explain
    before: int  #: the first model's class
    after: int  #: the second's
    confidence_before: float  #: softmax output of the class that the first model names, 0 to 1
    confidence_after: float
    pixels: str  #: base64 of its bytes in the order of ``shape``, shrunk to at most 96 pixels a side
    shape: tuple[int, int, int]  #: height, width, channels (one or three)
    map_before: tuple[tuple[float, ...], ...]  #: rows of the first model's map, 0 to 1, 0 where nothing speaks for it
    map_after: tuple[tuple[float, ...], ...]

    @property
    def correlation(self) -> float | None:
        """How alike the two maps are, -1 to 1; None if one of them is constant or their sizes differ."""
        if [len(row) for row in self.map_before] != [len(row) for row in self.map_after]:
            return None
        first, second = ([value for row in rows for value in row] for rows in (self.map_before, self.map_after))
        if min(first) == max(first) or min(second) == max(second):
            return None
        return statistics.correlation(first, second)


@dataclass(frozen=True)
class Attention(Sampled):
    """Grad-CAM of two classifiers on the same images, chosen from samples that were classified."""

    layer_before: str  #: the layer whose map is read in the first model
    layer_after: str  #: the same in the second
    #: the chosen images: those that only the second model gets right, that only the first does, that both get wrong,
    #: that both get right
    shown: tuple[AttendedImage, ...]
    seed: int  #: of the choice

    def __str__(self) -> str:
        rows = [
            (
                *(str(image.place), str(image.target), f"{image.before} ({image.confidence_before:.0%})"),
                *(f"{image.after} ({image.confidence_after:.0%})", short(image.correlation, 2)),
            )
            for image in self.shown
        ]
        layers = ", ".join(dict.fromkeys((self.layer_before, self.layer_after)))
        header = ("image", "class", "before", "after", "correlation of the maps")
        return f"{text_table(header, rows)}\nmaps of {layers}; chosen from {counted(self)}"


_ATTENTION_ALIKE = 0.95  #: Correlation from which on two maps count as the same
_ATTENTION_CLOSE = 0.01  #: Difference of mean correlations up to which two pairs count as the same


def _correlations(item: Measured) -> list[float]:
    return [shown.correlation for shown in item.record.shown if shown.correlation is not None]


def _attention_findings(item: Measured) -> Iterator[Said]:
    values = _correlations(item)
    if not values:
        images = count(len(item.record.shown), "chosen image")
        yield f"On {images} there are no two maps that can be compared.", "unclear"
        return
    change: Change = "same" if min(values) >= _ATTENTION_ALIKE else "different"
    text = f"On {count(1, 'chosen image')} with two maps these correlate with {number(values[0])}."
    if len(values) > 1:
        text = (
            f"On {count(len(values), 'chosen image')} the maps before and after correlate with "
            f"{number(math.fsum(values) / len(values))} on average, between {number(min(values))} and "
            f"{number(max(values))}."
        )
    yield text, change


def _attention_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = _correlations(subject), _correlations(reference)
    if not mine or not theirs:
        yield f"The maps of {subject.name} and {reference.name} cannot be compared: one of them has none.", "unclear"
        return
    means = [math.fsum(values) / len(values) for values in (mine, theirs)]
    images = [{shown.place for shown in item.record.shown} for item in (subject, reference)]
    where = "the same images" if images[0] == images[1] else "images chosen for each pair"
    words = compared(number, reference.name, *means)
    text = f"With the start the maps of {subject.name} correlate with {words}, on {where}."
    yield text, "same" if abs(means[0] - means[1]) <= _ATTENTION_CLOSE else "different"


ATTENTION = Verdict("attention", _attention_findings, _attention_contrasts)


@dataclass(frozen=True)
class ReceptiveField(Record):
    """What of the input moves the central unit of a layer."""

    layer: str  #: the module's name
    map_shape: tuple[int, ...]  #: of the layer's output, per spatial dimension
    unit: tuple[int, ...]  #: the position of the unit in it
    input_shape: tuple[int, ...]  #: of the input, per spatial dimension
    samples: int  #: over how many samples A is the mean
    cut: bool  #: whether there were more that ``max_samples`` left out
    shares: tuple[float, ...]  #: shares of the energy A^2, ascending
    radii: tuple[float, ...]  #: least distance in pixels from the energy's centre within which each share lies
    centre: tuple[float, ...]  #: the energy's centre, in pixels from the first one
    side: float  #: side in pixels of a square (cube, line) of as many positions with A above 4.55 % of the largest
    extent: tuple[int, ...]  #: per dimension, pixels from the first to the last position that has any influence
    values: tuple[float, ...]  #: A over its largest, averaged down to ``values_shape``, in row-major order
    values_shape: tuple[int, ...]  #: at most ``max_map`` per dimension

    def __str__(self) -> str:
        rows = [(f"{share:.0%}", radius) for share, radius in zip(self.shares, self.radii, strict=True)]
        return (
            f"{text_table(('share of the energy', 'radius in pixels'), rows)}\n"
            f"{self.layer}, unit {self.unit} of {times(self.map_shape)}: side {short(self.side)} pixels, "
            f"reaches {times(self.extent)} of {times(self.input_shape)}, over {counted(self)}"
        )


SAME = 0.01  #: Relative change of all radii up to which the field counts as the same; the record has no error


def _change(before: Sequence[float], after: Sequence[float]) -> Change:
    close = all(abs(second - first) <= SAME * first for first, second in zip(before, after, strict=True))
    return "same" if close else "different"


def _receptive_field_findings(item: Measured) -> Iterator[Said]:
    before, after = item.sides
    rows = list(zip(after.shares, before.radii, after.radii, strict=True))
    words = [f"{percent(share, 0)} of the energy {course(number, first, second)}" for share, first, second in rows]
    text = f"The radius in pixels that holds {', that of '.join(words)} (layer {after.layer})."
    yield text, _change(before.radii, after.radii)


def _receptive_field_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = subject.after.radii, reference.after.radii
    middle = len(mine) // 2
    words = compared(number, reference.name, mine[middle], theirs[middle])
    share = percent(subject.after.shares[middle], 0)
    yield f"After {subject.name} the radius of {share} of the energy is, in pixels, {words}.", _change(theirs, mine)


RECEPTIVE_FIELD = Verdict("receptive_field", _receptive_field_findings, _receptive_field_contrasts)
