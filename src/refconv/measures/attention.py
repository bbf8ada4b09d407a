"""Attention: which part of an image speaks for its class, by Grad-CAM, in two classifiers side by side.

The records; what they are computed from is in ``analysis/attention.py``.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from refconv.measures.tables import number, text_table
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
class Attention(Record):
    """Grad-CAM of two classifiers on the same images.

    Attributes:
        samples: how many were classified to choose from.
        cut: whether there were more that ``max_samples`` left out.
        layer_before: the layer whose map is read in the first model.
        layer_after: the same in the second.
        shown: the chosen images: those that only the second model gets right, that only the first does, that both get
            wrong, that both get right.
        seed: of the choice.
    """

    samples: int
    cut: bool
    layer_before: str
    layer_after: str
    shown: tuple[AttendedImage, ...]
    seed: int

    def __str__(self) -> str:
        rows = [
            (
                str(image.place),
                str(image.target),
                f"{image.before} ({image.confidence_before:.0%})",
                f"{image.after} ({image.confidence_after:.0%})",
                number(image.correlation, 2),
            )
            for image in self.shown
        ]
        table = text_table(("image", "class", "before", "after", "correlation of the maps"), rows)
        layers = dict.fromkeys((self.layer_before, self.layer_after))
        more = " of more" if self.cut else ""
        return f"{table}\nmaps of {', '.join(layers)}; chosen from {self.samples:,} samples{more}"
