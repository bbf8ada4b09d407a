"""How alike the features of two models are, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.numbers import count, number
from refconv.measures.pairs import Measured, role_names
from refconv.measures.wording import compared
from refconv.report.charts import Dots, Heat, Line, dot_chart, heat_maps, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec

ALIKE = 0.98
"""CKA from which on features count as the same."""
CLOSE = 0.005
"""Difference of mean CKA up to which two pairs count as the same; the record has no error."""
ROWS = 24
"""Layers up to which each is a row of its own; more become a line."""


def _mean(item: Measured) -> Finding:
    known = [row for row in item.record.layers if row.cka is not None]
    if not known:
        text = "CKA is defined in no layer: the features do not vary between the samples."
        return Finding(item.name, text, "unclear")
    least = min(known, key=lambda row: row.cka)
    change: Change = "same" if least.cka >= ALIKE else "different"
    if len(known) == 1:
        text = f"The features of {least.layer}, the only layer compared, agree with a CKA of {number(least.cka)}."
    else:
        text = (
            f"The features of {count(len(known), 'layer')} agree with a mean CKA of {number(item.record.mean)}; "
            f"least alike are those of {least.layer}, {number(least.cka)}."
        )
    return Finding(item.name, text, change)


def _contrast(subject: Measured, reference: Measured) -> Finding:
    mine, theirs = subject.record.mean, reference.record.mean
    if mine is None or theirs is None:
        text = f"{subject.name} and {reference.name} cannot be compared: one of them has no mean CKA."
        return Finding(subject.name, text, "unclear")
    others = _by_layer(reference)
    both = [(cka, others[layer]) for layer, cka in _by_layer(subject).items() if layer in others]
    farther = sum(one < other for one, other in both)
    layers = f"{farther} of {count(len(both), 'layer')}"
    text = (
        f"With the start {subject.name} has a mean CKA of {compared(number, reference.name, mine, theirs)}; its "
        f"features are farther from the start in {layers}."
    )
    return Finding(subject.name, text, "same" if abs(mine - theirs) <= CLOSE else "different")


def _by_layer(item: Measured) -> dict[str, float]:
    return {row.layer: row.cka for row in item.record.layers if row.cka is not None}


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
        *(("The matrix shows layers at even distances.",) if some else ()),
        *left_out,
    )


section = Spec(
    name="similarity",
    title="Feature similarity (CKA)",
    about="Linear CKA compares what a layer computes in two models on the same samples: 1 is the same features up "
    "to a rotation and one scale, around 0 is unrelated. It shows in which layers training made something else of "
    "them.",
    findings=lambda item: (_mean(item),),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    figures=lambda items: (_layers(items), _matrices(items)),
    notes=_notes,
)
