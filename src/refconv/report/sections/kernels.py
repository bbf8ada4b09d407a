"""Kernels to look at: base, result and difference, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from statistics import median
from typing import Any

from markupsafe import Markup

from refconv.measures.layers import kinds, row_of
from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import BEFORE, Measured
from refconv.measures.verdicts.kernels import VERDICT, Taps, difference, length_of, relative
from refconv.measures.verdicts.planes import drawable, plane, times
from refconv.report.charts import Sheet, kernel_sheets
from refconv.report.elements import Figure, Table
from refconv.report.sections.per_layer import PICTURED, pictured_note, spread
from refconv.report.sections.spec import Spec

_MOST, _FEWEST, _TAPS = 64, 16, 3000
"""Kernels of a sheet, at most and at least, and taps on all sheets of a layer: large kernels or many pairs should not
make a large page."""


def _drawable(items: Sequence[Measured]) -> list[str]:
    return [layer for layer in kinds(items) if drawable(_row(items, layer).kernel_size)]


def _row(items: Sequence[Measured], layer: str) -> Any:
    return next(row for item in items if (row := row_of(item, layer)) is not None)


def _figure(items: Sequence[Measured], layer: str) -> Figure:
    found = [(item, row) for item in items if (row := row_of(item, layer)) is not None]
    first = found[0][1]
    size = first.kernel_size
    shown = min(len(first.chosen), max(_FEWEST, min(_MOST, _TAPS // (prod(size) * (1 + 2 * len(found))))))
    kept = spread(range(len(first.chosen)), shown)
    levels = [(BEFORE, first, first.before), *((item.name, row, row.after) for item, row in found)]
    changes = [(f"{item.name} − {BEFORE}", row, difference(row)) for item, row in found]
    drawings = [
        kernel_sheets(
            [
                Sheet(name, [plane(kernels[at], size) or [] for at in kept], [f"slice {row.chosen[at]}" for at in kept])
                for name, row, kernels in states
            ]
        )
        for states in (levels, changes)
    ]
    said = ", ".join(f"{item.name} {percent(relative(row))}" for item, row in found)
    return Figure(
        Markup("").join(drawings),
        alt=f"{count(shown, 'kernel')} of {layer}, {times(size)} taps, {BEFORE} and after, and the differences. Length "
        f"of the difference over that of the start: {said}.",
        caption=f"{shown} of {count(first.slices, 'kernel')} of {layer} ({first.kind}, {times(size)}), each in "
        "the same place on every sheet; the differences have a scale of their own.",
        table=_table(layer, [*levels, *changes]),
        choice="layer",
        option=layer,
    )


def _table(layer: str, states: Sequence[tuple[str, Any, Sequence[Taps]]]) -> Table:
    rows = []
    for name, _, kernels in states:
        taps = [tap for kernel in kernels for tap in kernel]
        rms = length_of(kernels) / len(taps) ** 0.5
        rows.append((name, number(min(taps)), number(median(taps)), number(max(taps)), number(rms)))
    header = ("kernels", "smallest tap", "median tap", "largest tap", "root mean square")
    return Table(f"Taps of the chosen kernels of {layer}", header, tuple(rows))


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    record, possible = items[0].record, len(_drawable(items))
    solid = len(record.layers) - possible
    cut = any(len(row.chosen) < row.slices for row in record.layers)
    return (
        "A picture supports nothing by itself: the measures above look at all kernels, or say at how many.",
        (f"Of a layer at most {record.shown} kernels are chosen, drawn with a seed.") if cut else "",
        (f"{count(solid, 'layer')} with kernels of three dimensions cannot be drawn.") if solid > 0 else "",
        *pictured_note(min(possible, PICTURED), possible, "sheet"),
    )


section = Spec(
    VERDICT,
    title="Pictures of kernels",
    about="The same kernels of a layer at the start, after training, and what changed between the two. "
    "Look for patterns that many kernels share, and for what a difference adds or takes away.",
    figures=lambda items: (_figure(items, layer) for layer in spread(_drawable(items))),
    notes=_notes,
)
