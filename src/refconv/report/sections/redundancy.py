"""How alike the kernels of a layer's channels are."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.direction import RULE
from refconv.measures.layers import kinds, row_of, values
from refconv.measures.numbers import count, number
from refconv.measures.pairs import BEFORE, Measured
from refconv.measures.verdicts.redundancy import COSINE, DIVERGENCE, RANK, SCALED, VERDICT
from refconv.report.charts import Heat, heat_maps
from refconv.report.elements import Figure, Table
from refconv.report.sections.per_layer import PICTURED, layer_figure, pictured_note, spread
from refconv.report.sections.spec import Spec

_CAPTIONS = {
    DIVERGENCE: "Mean Kullback-Leibler divergence between channels, as RefConv measures redundancy: larger is less "
    "redundant. It also grows when weights merely grow.",
    SCALED: "The same after every layer's weights are divided by their root mean square: it sees patterns, not scale.",
    COSINE: "Mean absolute cosine between channels, 0 to 1: smaller is less redundant.",
    RANK: "Effective number of directions that a layer's slices span, from 1 to the number of taps: larger is less "
    "redundant.",
}


def _matrices(items: Sequence[Measured]) -> list[Figure]:
    """Return the divergences between a sample of channels, a figure per layer."""
    of_all = values(items, DIVERGENCE)
    drawn = [layer for layer in kinds(items) if any(value is not None for value in of_all[layer].values())]
    return [_matrix(items, layer) for layer in spread(drawn)]


def _matrix(items: Sequence[Measured], layer: str) -> Figure:
    found = [(item, row) for item in items if (row := row_of(item, layer)) is not None]
    row = found[0][1]
    sides = [(BEFORE, row.before), *((item.name, row.after) for item, row in found)]
    drawing = heat_maps(
        [Heat(name, side.matrix) for name, side in sides], unit="nats", x_label="channel j", y_label="channel i", low=0
    )
    shown, sampled = len(row.shown), row.sampled
    names = [quantity.label for quantity in (DIVERGENCE, SCALED, COSINE, RANK)]
    rows = tuple((name, *(number(q.of(side)) for q in (DIVERGENCE, SCALED, COSINE, RANK))) for name, side in sides)
    means = ", ".join(f"{name} {number(side.divergence)}" for name, side in sides)
    return Figure(
        drawing,
        alt=f"Divergence between {count(shown, 'channel')} of {layer}, a matrix per model. Mean over "
        f"{count(sampled, 'channel')}: {means} nats.",
        caption=f"Kullback-Leibler divergence from channel i to channel j of {layer}, {shown} of "
        f"{count(row.channels, 'channel')}, one scale for all; 0 is between equal kernels.",
        table=Table(f"Redundancy of {layer}", ("model", *names), rows),
        choice="layer",
        option=layer,
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    rows = [row for item in items for row in item.record.layers]
    cut = {row.layer for row in rows if row.sampled < row.channels}
    lonely = {row.layer for row in rows if row.channels < 2}
    most, held = max(row.sampled for row in rows), len(kinds(items)) - len(lonely)
    cut_note = f"Of {count(len(cut), 'large layer')} {most} channels were compared, the same ones in all models."
    return (
        "Softmax is not indifferent to scale: for small weights the divergence grows with their square. If it grew and "
        "the scaled divergence, cosine and effective rank did not move, the weights grew, nothing else.",
        RULE,
        *((cut_note,) if cut else ()),
        (f"Without a second channel to compare with: {', '.join(sorted(lonely))}.") if lonely else "",
        *pictured_note(min(PICTURED, held), held, "matrix"),
    )


section = Spec(
    VERDICT,
    title="Channel redundancy",
    about="Redundancy asks whether the channels of a layer repeat one another: the kernels of two channels become "
    "distributions by a softmax, and their Kullback-Leibler divergence says how different they are. Larger "
    "divergence means less redundancy, but it also sees the scale of the weights, so three measures that do not "
    "stand beside it.",
    figures=lambda items: (
        *(layer_figure(items, one, caption=text, choice="measure") for one, text in _CAPTIONS.items()),
        *_matrices(items),
    ),
    notes=_notes,
)
