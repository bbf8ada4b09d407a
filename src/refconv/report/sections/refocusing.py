"""Sections on what refocusing does: relations between kernels, and the spectrum of the Gram."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from refconv.measures.layers import RULE, Quantity, kinds, row_of, rows_of
from refconv.measures.numbers import count, number, percent, times
from refconv.measures.pairs import BEFORE
from refconv.measures.refocusing import OTHERS, PARTNERS, RESIDUAL, among_others, shown
from refconv.report.charts import Dots, Guide, Heat, Line, dot_chart, heat_maps, line_chart
from refconv.report.elements import Figure, Items, Spec
from refconv.report.sections.figures import axes, figure, layer_figure, pictured_note, spread

STRONGEST = 5  #: Relations that the table of a layer names, per pair

_CAPTIONS: dict[Quantity, str] = {
    OTHERS: "Share of the squared refocus weight that slices draw from others; the table has what it would be if "
    "they drew on all alike.",
    PARTNERS: "Effective number of other slices that a slice draws on.",
    RESIDUAL: "Share of the change's length that refocusing from this start cannot reach.",
}


def _relations(items: Items) -> Iterator[Figure]:
    even = {"drawn from others if even": lambda layer: _even(rows_of(items, layer)[0][1])}
    for one in shown(items):
        yield layer_figure(items, one, _CAPTIONS[one], more=even if one is OTHERS else None)
    yield from (_strengths(items, layer) for layer in spread(_with_matrix(items)))


def _even(row: Any) -> str:
    return percent(1 - row.own_if_even if row.slices > 1 else None)


def _with_matrix(items: Items) -> list[str]:
    return [layer for layer in kinds(items) if any((row := row_of(item, layer)) and row.strongest for item in items)]


def _strengths(items: Items, layer: str) -> Figure:
    found = [(item, row) for item, row in rows_of(items, layer) if row.matrix]
    heats, first = [Heat(item.name, row.matrix) for item, row in found], found[0][1]
    strongest = "; ".join(f"{item.name}: {_strongest(row)}" for item, row in found)
    return figure(
        heat_maps(heats, unit="strength", low=0, **axes("channel drawn on", "channel that draws")),
        alt=f"Strength with which {count(len(first.shown), 'channel')} of {layer} draw on one another, a matrix per "
        f"pair. {strongest}.",
        caption=f"How strongly output channels of {layer} draw on one another, {len(first.shown)} of "
        f"{count(first.channels, 'channel')}; the diagonal is what they draw from themselves.",
        table=f"Strongest relations between different channels of {layer}",
        header=("pair", "channel", "draws on", "strength"),
        rows=(
            (item.name, str(one.channel), str(one.source), number(one.strength))
            for item, row in found
            for one in row.strongest[:STRONGEST]
        ),
        option=("layer", layer),
    )


def _strongest(row: Any) -> str:
    if not row.strongest:
        return "no channel draws on another"
    first = row.strongest[0]
    share, strength = percent(among_others(row)), number(first.strength)
    return f"{share} from other slices, strongest channel {first.channel} on {first.source} ({strength})"


def _relations_notes(items: Items) -> Iterator[str]:
    rows, records = [row for item in items for row in item.record.layers], [item.record for item in items]
    dense = {row.layer for row in rows if row.slices == 1}
    cut = {row.layer for row in rows if row.sampled < row.blocks}
    settings = {(tuple(record.map_size), record.order, record.scale, record.power) for record in records}
    yield "After refocusing by SGD with these settings the weight is the one that was trained."
    yield "After any other training it is the smallest weight that would have had the same effect."
    yield "Changes at random draw on nearly all others alike, so read the shares beside those of plain training."
    texts = (
        f"map size {times(size)}, order {order}, scale {scale}, power {number(power)}"
        for size, order, scale, power in sorted(settings)
    )
    yield f"Settings of refocusing: {' and '.join(texts)}."
    yield "Strengths depend on the scale of the start; shares and partners do not."
    yield "Matrices are drawn of layers whose output channels draw on one another."
    yield RULE
    yield f"In {count(len(dense), 'layer')} slices meet no others (dense layers)." if dense else ""
    yield f"Measured on a sample of the blocks of {count(len(cut), 'layer')}." if cut else ""
    yield pictured_note(len(_with_matrix(items)), "matrix")


def _defined(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row.condition is not None]


def _ranks(rows: Sequence[Any]) -> Figure:
    shares = [
        (row.layer, None if row.effective_rank is None else float(row.effective_rank / len(row.eigenvalues)))
        for row in rows
    ]
    known = [(share, layer) for layer, share in shares if share is not None]
    ends = [f"{percent(share)} in {layer}" for share, layer in (min(known), max(known))] if known else []
    values = ("mean_eigenvalue", "rank", "condition", "effective_rank")
    dots, guides = [Dots(layer, {"before": share}) for layer, share in shares], (Guide("x", 1, "even"),)
    title, label = "Effective rank per layer", "effective rank over taps"
    return figure(
        dot_chart(dots, {"before": "start"}, title=title, x_label=label, guides=guides),
        alt=f"Effective rank of the Gram over the number of taps in {count(len(rows), 'layer')}."
        + (f" From {' to '.join(ends)}." if ends else ""),
        caption="Effective rank of each layer's Gram as a share of its taps: 1 is the even spectrum of plain training.",
        table="Spectrum per layer",
        header=("layer", "kind", "kernel", *(value.replace("_", " ") for value in values)),
        rows=(
            (row.layer, row.kind, times(row.kernel_size), *(number(getattr(row, value)) for value in values))
            for row in rows
        ),
    )


def _eigenvalues(row: Any) -> Figure:
    values = row.eigenvalues
    places = [float(place) for place in range(1, len(values) + 1)]
    what = f"Eigenvalues of the Gram of {row.layer}"
    line = Line("start", "before", places, [value if value > 0 else None for value in values])
    guides = (Guide("y", 1, "even"),)
    return figure(
        line_chart([line], title=what, **axes("eigenvalue", "over their mean"), y_log=True, guides=guides),
        alt=f"{what} over their mean, falling from {number(values[0])} to {number(values[-1])}; condition "
        f"{number(row.condition)}.",
        caption=f"{what} over their mean, means over {count(row.sampled, 'block')}, on a logarithmic axis.",
        table=f"Eigenvalues of {row.layer}",
        header=("number", "over their mean"),
        rows=((str(place), number(value)) for place, value in enumerate(values, 1)),
        option=("layer", row.layer),
    )


def _spectrum_notes(items: Items) -> Iterator[str]:
    record = items[0].record
    rows = record.layers
    short = sum(row.rank is not None and row.rank < len(row.eigenvalues) for row in rows)
    dead = [row.layer for row in rows if row.condition is None]
    cut = sum(row.sampled < row.blocks for row in rows)
    yield "The mean eigenvalue is by how much refocusing changes a layer's learning rate unless it is normalised."
    yield f"Of refocusing with map size {times(record.map_size)}, order {record.order}."
    if short:
        yield f"In {count(short, 'layer')} the rank is below the number of taps: some patterns refocusing cannot move."
    if dead:
        yield f"All zero: {', '.join(dead)}."
    yield f"Measured on a sample of the blocks of {count(cut, 'layer')}." if cut else ""
    if any(item.record != record for item in items):
        yield f"The pairs' records of the {BEFORE} model differ; drawn is that of {items[0].name}."
    yield pictured_note(len(_defined(rows)), "spectrum")


def _spectra(items: Items) -> list[Figure]:
    rows = items[0].record.layers
    return [_ranks(rows), *map(_eigenvalues, spread(_defined(rows)))]


SECTIONS = (Spec("relations", _relations, _relations_notes), Spec("spectrum", _spectra, _spectrum_notes))
