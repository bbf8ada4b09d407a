"""Attention: which part of an image speaks for its class, by Grad-CAM, in two classifiers; record and verdict."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

from refconv.measures.findings import Change
from refconv.measures.numbers import compared, count, number
from refconv.measures.pairs import Measured
from refconv.measures.tables import Sampled, counted, short, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class AttendedImage(Record):
    """One image and what of it speaks for its class.

    Attributes:
        place: its number in the data, from 0.
        target: its class, which the maps explain.
        before: the first model's class.
        after: the second's.
        confidence_before: softmax output of the class that the first model names, 0 to 1.
        confidence_after: the same of the second.
        pixels: base64 of its bytes in the order of ``shape``, shrunk to at most 96 pixels a side.
        shape: height, width, channels (one or three).
        map_before: rows of the first model's map, 0 to 1, all 0 where nothing speaks for the class.
        map_after: the same of the second.
    """

    place: int
    target: int
    before: int
    after: int
    confidence_before: float
    confidence_after: float
    pixels: str
    shape: tuple[int, int, int]
    map_before: tuple[tuple[float, ...], ...]
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
    """Grad-CAM of two classifiers on the same images, chosen from samples that were classified.

    Attributes:
        layer_before: the layer whose map is read in the first model.
        layer_after: the same in the second.
        shown: the chosen images: those that only the second model gets right, that only the first does, that both get
            wrong, that both get right.
        seed: of the choice.
    """

    layer_before: str
    layer_after: str
    shown: tuple[AttendedImage, ...]
    seed: int

    def __str__(self) -> str:
        columns = {
            "image": lambda image: str(image.place),
            "class": lambda image: str(image.target),
            "before": lambda image: f"{image.before} ({image.confidence_before:.0%})",
            "after": lambda image: f"{image.after} ({image.confidence_after:.0%})",
            "correlation of the maps": lambda image: short(image.correlation, 2),
        }
        layers = ", ".join(dict.fromkeys((self.layer_before, self.layer_after)))
        return f"{table_of(self.shown, columns)}\nmaps of {layers}; chosen from {counted(self)}"


ALIKE = 0.95
"""Correlation from which on two maps count as the same."""

CLOSE = 0.01
"""Difference of mean correlations up to which two pairs count as the same."""


def _correlations(item: Measured) -> list[float]:
    return [shown.correlation for shown in item.record.shown if shown.correlation is not None]


def _findings(item: Measured) -> Iterator[Said]:
    values = _correlations(item)
    if not values:
        images = count(len(item.record.shown), "chosen image")
        yield f"On {images} there are no two maps that can be compared.", "unclear"
        return
    change: Change = "same" if min(values) >= ALIKE else "different"
    text = f"On {count(1, 'chosen image')} with two maps these correlate with {number(values[0])}."
    if len(values) > 1:
        text = (
            f"On {count(len(values), 'chosen image')} the maps before and after correlate with "
            f"{number(math.fsum(values) / len(values))} on average, between {number(min(values))} and "
            f"{number(max(values))}."
        )
    yield text, change


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = _correlations(subject), _correlations(reference)
    if not mine or not theirs:
        yield f"The maps of {subject.name} and {reference.name} cannot be compared: one of them has none.", "unclear"
        return
    means = [math.fsum(values) / len(values) for values in (mine, theirs)]
    images = [{shown.place for shown in item.record.shown} for item in (subject, reference)]
    where = "the same images" if images[0] == images[1] else "images chosen for each pair"
    words = compared(number, reference.name, *means)
    text = f"With the start the maps of {subject.name} correlate with {words}, on {where}."
    yield text, "same" if abs(means[0] - means[1]) <= CLOSE else "different"


ATTENTION = Verdict("attention", _findings, _contrasts)
