"""Which channels' kernels refocusing draws on: the refocus weight that leads from the start to the result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.direction import RULE
from refconv.measures.layers import Quantity, kinds, row_of
from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.planes import times
from refconv.measures.verdicts.relations import OTHERS, PARTNERS, RESIDUAL, VERDICT, among_others, shown
from refconv.report.charts import Heat, heat_maps
from refconv.report.elements import Figure, Table
from refconv.report.sections.per_layer import PICTURED, layer_figure, pictured_note, spread
from refconv.report.sections.spec import Spec

STRONGEST = 5
"""Relations that the table of a layer names, per pair."""


def _figures(items: Sequence[Measured]) -> list[Figure]:
    matrices = [_matrix(items, layer) for layer in spread(_with_matrix(items))]
    return [*(_figure(items, one) for one in shown(items)), *matrices]


def _figure(items: Sequence[Measured], quantity: Quantity) -> Figure:
    captions = {
        OTHERS: "Share of the squared refocus weight that slices draw from others; the table has what it would be if "
        "they drew on all alike.",
        PARTNERS: "Effective number of other slices that a slice draws on.",
        RESIDUAL: "Share of the change's length that refocusing from this start cannot reach.",
    }
    even = {"drawn from others if even": lambda layer: _even(items, layer)} if quantity is OTHERS else None
    return layer_figure(items, quantity, caption=captions[quantity], choice="measure", more=even)


def _even(items: Sequence[Measured], layer: str) -> str:
    row = next(row for item in items if (row := row_of(item, layer)) is not None)
    return percent(1 - row.own_if_even if row.slices > 1 else None)


def _with_matrix(items: Sequence[Measured]) -> list[str]:
    return [layer for layer in kinds(items) if any((row := row_of(item, layer)) and row.strongest for item in items)]


def _matrix(items: Sequence[Measured], layer: str) -> Figure:
    found = [(item, row) for item in items if (row := row_of(item, layer)) and row.matrix]
    drawing = heat_maps(
        [Heat(item.name, row.matrix) for item, row in found],
        unit="strength",
        x_label="channel drawn on",
        y_label="channel that draws",
        low=0,
    )
    first = found[0][1]
    said = "; ".join(f"{item.name}: {_said(row)}" for item, row in found)
    rows = tuple(
        (item.name, str(one.channel), str(one.source), number(one.strength))
        for item, row in found
        for one in row.strongest[:STRONGEST]
    )
    return Figure(
        drawing,
        alt=f"Strength with which {count(len(first.shown), 'channel')} of {layer} draw on one another, a matrix per "
        f"pair. {said}.",
        caption=f"How strongly output channels of {layer} draw on one another, {len(first.shown)} of "
        f"{count(first.channels, 'channel')}; the diagonal is what they draw from themselves.",
        table=Table(
            f"Strongest relations between different channels of {layer}",
            ("pair", "channel", "draws on", "strength"),
            rows,
        ),
        choice="layer",
        option=layer,
    )


def _said(row: Any) -> str:
    if not row.strongest:
        return "no channel draws on another"
    first = row.strongest[0]
    share = among_others(row)
    return (
        f"{percent(share)} from other slices, strongest channel {first.channel} on {first.source} "
        f"({number(first.strength)})"
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    rows = [row for item in items for row in item.record.layers]
    dense = {row.layer for row in rows if row.slices == 1}
    cut = {row.layer for row in rows if row.sampled < row.blocks}
    settings = {
        (tuple(record.map_size), record.order, record.scale, record.power) for record in (item.record for item in items)
    }
    said = " and ".join(
        f"map size {times(size)}, order {order}, scale {scale}, power {number(power)}"
        for size, order, scale, power in sorted(settings)
    )
    return (
        "After refocusing by SGD with these settings the weight is the very one that was trained; after any other "
        "training it is the smallest that would have done it. Changes at random draw on nearly all others alike, so "
        "read the shares beside those of plain training.",
        f"Settings of refocusing: {said}.",
        "Strengths depend on the scale of the start; shares and partners do not.",
        "Matrices are drawn of layers whose output channels draw on one another.",
        RULE,
        (f"In {count(len(dense), 'layer')} slices meet no others (dense layers).") if dense else "",
        (f"Measured on a sample of the blocks of {count(len(cut), 'layer')}.") if cut else "",
        *pictured_note(min(PICTURED, len(_with_matrix(items))), len(_with_matrix(items)), "matrix"),
    )


section = Spec(
    VERDICT,
    title="Relations between kernels",
    about="Every change of the kernels can be written as a refocus weight, which says how strongly each slice "
    "draws on the slices of its block; this is the smallest such weight. Refocusing wants to relate kernels that "
    "never met: how much slices draw on others is what this measures.",
    figures=_figures,
    notes=_notes,
)
