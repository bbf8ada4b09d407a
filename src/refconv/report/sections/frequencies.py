"""Sections on kernels and maps by frequency, on norms of convolutions, and on ranges of weights."""

from __future__ import annotations

from collections.abc import Iterator

from refconv.measures.frequencies import BOUND, HIGH, HIGHEST, NORM, VARIATION
from refconv.measures.layers import RULE, rows_of
from refconv.measures.numbers import count, number, times
from refconv.measures.pairs import BEFORE
from refconv.measures.ranges import OF_CHANNELS, OF_LAYER, SPREAD
from refconv.report.charts import Guide, Line, line_chart
from refconv.report.elements import Figure, Items, Spec
from refconv.report.sections.figures import axes, figure, layer_figure, on_samples, spread


def _smoothness(items: Items) -> Iterator[Figure]:
    yield layer_figure(
        items, VARIATION, "Differences of neighbouring taps over the sum of magnitudes: 0 is a constant kernel."
    )
    shares = sorted({row.noise for item in items for row in item.record.layers})
    guides = [Guide("x", share, "noise") for share in shares[:1]] if len(shares) == 1 else []
    yield layer_figure(
        items, HIGH, "Share of the energy of kernels above a quarter of a cycle a tap; white noise has 75 % in two "
        "dimensions.", guides=guides,
    )  # fmt: skip


def _smoothness_notes(items: Items) -> Iterator[str]:
    yield "Neither sees the scale of the weights; smoother is not better by itself."
    yield "White noise has half of its energy above in one dimension, 75 % in two and 87.5 % in three."
    yield RULE


def _norms(items: Items) -> Iterator[Figure]:
    yield layer_figure(items, NORM, "By how much the convolution enlarges an input at most, with circular padding.")
    yield layer_figure(
        items, BOUND, "What that is at most on any size, with any zero padding, stride and dilation (Schur's test)."
    )


def _norms_notes(items: Items) -> Iterator[str]:
    yield f"Circular padding on {items[0].record.size} positions per dimension."
    yield "A layer behind which a normalisation stands may have any norm: the normalisation takes it back."
    yield "Padding by reflection or replication may exceed the bound."
    yield RULE


_RANGES = {
    OF_CHANNELS: "Relative error of weights that are rounded with a scale for every output channel.",
    OF_LAYER: "The same with one scale for the whole layer.",
    SPREAD: "The largest range of a channel over the median one: 1 is even.",
}


def _ranges(items: Items) -> Iterator[Figure]:
    yield from (layer_figure(items, one, text) for one, text in _RANGES.items())


def _ranges_notes(items: Items) -> Iterator[str]:
    yield f"Weights are rounded to {items[0].record.bits} bits, symmetrically; activations are not looked at."
    yield "Batch norms folded into the kernels change the ranges of their channels."
    yield RULE


def _fourier(items: Items) -> Iterator[Figure]:
    highest = "Logarithm of the amplitude of the highest frequency over that of the constant part."
    yield layer_figure(items, HIGHEST, highest)
    layers = list(dict.fromkeys(row.layer for item in items for row in item.record.layers))
    yield from (_curves(items, layer) for layer in spread(layers))


def _curves(items: Items, layer: str) -> Figure:
    """Return the amplitudes of one layer's maps by frequency, a line per model."""
    found = rows_of(items, layer)
    first = found[0][1]
    places = [step / (2 * (len(first.before) - 1)) for step in range(len(first.before))]
    lines = [Line(BEFORE, "before", places, first.before)]
    lines += [Line(item.name, item.role, places, row.after) for item, row in found]
    ends = ", ".join(f"{line.name} {number(line.y[-1])}" for line in lines)
    return figure(
        line_chart(lines, title="Amplitude", **axes("frequency, cycles a position", "log amplitude")),
        alt=f"Logarithm of amplitudes of {layer} over that of the constant part. Highest frequency: {ends}.",
        caption=f"Amplitudes of the maps of {layer} ({times(first.map_shape)}) by frequency, over the constant part.",
        table=f"Log amplitudes of {layer}",
        header=("frequency", *(line.name for line in lines)),
        rows=((number(place), *(number(line.y[at]) for line in lines)) for at, place in enumerate(places)),
        option=("layer", layer),
    )


def _fourier_notes(items: Items) -> Iterator[str]:
    first = items[0].record
    yield on_samples(first)
    yield "Lower values: the maps of a layer are smoother in space."
    few = f"{count(len(first.left_out), 'convolution')} left out, whose maps are too small or that do not run"
    yield f"{few}." if first.left_out else ""
    yield RULE


SECTIONS = (
    Spec("smoothness", _smoothness, _smoothness_notes),
    Spec("norms", _norms, _norms_notes),
    Spec("ranges", _ranges, _ranges_notes),
    Spec("fourier", _fourier, _fourier_notes),
)
