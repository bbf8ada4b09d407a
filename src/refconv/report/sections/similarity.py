"""How alike the features of two models are, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.numbers import count, number
from refconv.measures.pairs import Measured, role_names
from refconv.measures.verdicts.similarity import VERDICT
from refconv.report.charts import Dots, Heat, Line, dot_chart, heat_maps, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec

ROWS = 24
"""Layers up to which each is a row of its own; more become a line."""


def _layers(items: Sequence[Measured]) -> Figure:
    found = {item.role: {row.layer: row.cka for row in item.record.layers} for item in items}
    layers = list(dict.fromkeys(layer for values in found.values() for layer in values))
    title = "CKA per layer"
    names = role_names(items, before=False)
    if len(layers) <= ROWS:
        dots = [Dots(layer, {role: values.get(layer) for role, values in found.items()}) for layer in layers]
        drawing = dot_chart(dots, names, title=title, x_label="CKA")
    else:
        places = [float(place) for place in range(1, len(layers) + 1)]
        lines = [
            Line(names[role], role, places, [values.get(layer) for layer in layers]) for role, values in found.items()
        ]
        drawing = line_chart(lines, title=title, x_label="layer, from the input to the output", y_label="CKA")
    rows = tuple((layer, *(number(values.get(layer)) for values in found.values())) for layer in layers)
    means = ", ".join(f"{item.name} {number(item.record.mean)}" for item in items)
    return Figure(
        drawing,
        alt=f"CKA of {count(len(layers), 'layer')} before with the same layer after. Mean: {means}.",
        caption=f"{title}, before with after, from the input to the output.",
        table=Table(title, ("layer", *(item.name for item in items)), rows),
    )


def _matrices(items: Sequence[Measured]) -> Figure:
    values = [value for item in items for row in item.record.matrix for value in row if value is not None]
    drawing = heat_maps(
        [Heat(item.name, item.record.matrix) for item in items],
        unit="CKA",
        x_label="layer after",
        y_label="layer before",
        low=min([0.0, *values]),
        high=1.0,
    )
    rows = [(item.name, *row) for item in items for row in _best(item.record)]
    own = [sum(row[1] == row[3] for row in rows if row[0] == item.name) for item in items]
    totals = [sum(row[0] == item.name for row in rows) for item in items]
    words = [f"{item.name}: {n} of {m}" for item, n, m in zip(items, own, totals, strict=True)]
    return Figure(
        drawing,
        alt="Every layer before with every layer after. Layers whose most alike layer after is they themselves: "
        f"{', '.join(words)}.",
        caption="CKA of every layer before (rows) with every layer after (columns), both from the input to the output.",
        table=Table(
            "For each layer before the layer after that is most alike",
            ("pair", "layer before", "CKA with itself after", "most alike after", "its CKA"),
            tuple(rows),
        ),
    )


def _best(record: Any) -> list[tuple[str, str, str, str]]:
    layers, rows = record.matrix_layers, []
    for place, (layer, row) in enumerate(zip(layers, record.matrix, strict=True)):
        known = [(value, column) for column, value in enumerate(row) if value is not None]
        if known:
            best, column = max(known)
            rows.append((layer, number(row[place]), layers[column], number(best)))
    return rows


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    first = items[0].record
    left_out = tuple(f"{layer} was not compared: {reason}." for layer, reason in first.left_out.items())
    some = len(first.matrix_layers) < len(first.layers)
    return (
        samples_note(first),
        "Values fall with depth in most pairs; two trainings of one recipe from one start are the yardstick.",
        "A channel of large scale counts for more, so outputs of a convolution and of the norm behind it differ.",
        ("The matrix shows layers at even distances.") if some else "",
        *left_out,
    )


section = Spec(
    VERDICT,
    title="Feature similarity (CKA)",
    about="Linear CKA compares what a layer computes in two models on the same samples: 1 is the same features up "
    "to a rotation and one scale, around 0 is unrelated. It shows in which layers training made something else of "
    "them.",
    figures=lambda items: (_layers(items), _matrices(items)),
    notes=_notes,
)
