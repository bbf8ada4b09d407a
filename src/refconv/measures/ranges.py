"""How evenly the channels of a layer share a range of numbers, for whole-number weights; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from refconv.measures.layers import Quantity, contrasts_of, course_said
from refconv.measures.numbers import percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, changed, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class ChannelRanges(Record):
    """Ranges of one layer's output channels; a channel's range is its largest magnitude. None for kernels of zeros."""

    quartiles: tuple[float, float, float, float, float]  #: least, quartiles and largest of the channels' ranges
    spread: float | None  #: the largest range over the median one, 1 or more; None if that is zero
    of_layer: float | None  #: relative error of weights rounded with one scale for the layer, 0 to 1
    of_channels: float | None  #: the same with a scale for every channel


@dataclass(frozen=True)
class LayerRanges(LayerRecord):
    """One layer in two models."""

    channels: int
    before: ChannelRanges
    after: ChannelRanges


@dataclass(frozen=True)
class WeightRanges(Record):
    """Ranges of weights per channel in two models, and what rounding them to ``bits`` costs."""

    layers: tuple[LayerRanges, ...]
    bits: int

    def __str__(self) -> str:
        errors = changed("of_layer", "error, one scale"), changed("of_channels", "error, scale per channel")
        table = table_of(self.layers, "layer", "kind", "channels", changed("spread", "largest / median range"), *errors)
        return f"{table}\nrelative errors of weights rounded to {self.bits} bits"


SPREAD = Quantity("largest over median range", "spread")
OF_LAYER = Quantity("rounding error with one scale per layer", "of_layer", show=lambda value: percent(value, 2))
OF_CHANNELS = Quantity("rounding error with a scale per channel", "of_channels", show=lambda value: percent(value, 2))


def _ranges_findings(item: Measured) -> Iterator[Said]:
    yield from (course_said(item, one, "down") for one in (OF_CHANNELS, OF_LAYER))
    yield course_said(item, SPREAD)


RANGES = Verdict("ranges", _ranges_findings, contrasts_of(OF_CHANNELS, OF_LAYER, good="down"))
