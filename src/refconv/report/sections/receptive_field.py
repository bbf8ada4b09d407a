"""Which part of the input moves one unit deep in the network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured, models
from refconv.measures.verdicts.receptive_field import VERDICT
from refconv.report.charts import Heat, Line, heat_maps, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec


def _field(items: Sequence[Measured]) -> Figure:
    found = models(items)
    share = items[0].after.shares[-1]
    radii = ", ".join(f"{name} {number(record.radii[-1])}" for _, name, record in found)
    return Figure(
        _drawing(found),
        alt=f"Influence of each pixel on the central unit. Radius of {percent(share, 0)} of the energy in pixels: "
        f"{radii}.",
        caption=f"Influence of each pixel on the central unit of {items[0].after.layer}, as a share of the largest."
        + (" Of three dimensions the middle plane of the first." if len(items[0].after.values_shape) == 3 else ""),
        table=_table(found),
    )


def _drawing(found: Sequence[tuple[Any, str, Any]]) -> Markup:
    if len(found[0][2].values_shape) > 1:
        heats = [Heat(name, plane(record)) for _, name, record in found]
        return heat_maps(heats, unit="share of the largest influence", low=0.0, high=1.0)
    lines = []
    for role, name, record in found:
        step = record.input_shape[0] / record.values_shape[0]
        lines.append(Line(name, role, [step * (place + 0.5) for place in range(len(record.values))], record.values))
    return line_chart(
        lines, title="Influence on the central unit", x_label="position, in samples", y_label="share of the largest"
    )


def plane(record: Any) -> list[list[float]]:
    """Return a field of two dimensions as rows; of three dimensions, the middle plane of the first.

    Args:
        record: of one model, with ``values`` in row-major order.

    Example:
        >>> from types import SimpleNamespace
        >>> plane(SimpleNamespace(values=[1, 2, 3, 4, 5, 6], values_shape=[2, 3]))
        [[1, 2, 3], [4, 5, 6]]
    """
    *outer, height, width = record.values_shape
    start = outer[0] // 2 * height * width if outer else 0
    return [list(record.values[start + row * width : start + (row + 1) * width]) for row in range(height)]


def _table(found: Sequence[tuple[Any, str, Any]]) -> Table:
    shares = found[0][2].shares
    rows = tuple(
        (name, *(number(radius) for radius in record.radii), number(record.side), _times(record.extent))
        for _, name, record in found
    )
    header = ("model", *(f"radius of {percent(share, 0)}" for share in shares), "side", "extent")
    return Table("Size of the receptive field, in pixels", header, rows)


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    record = items[0].after
    reached = any(
        extent >= size
        for item in items
        for side in (item.before, item.after)
        for extent, size in zip(side.extent, side.input_shape, strict=True)
    )
    layers = {side.layer for item in items for side in (item.before, item.after)}
    pixels = math.prod(record.input_shape) / math.prod(record.values_shape)
    return (
        f"{samples_note(record)} Unit {_times(record.unit, ', ')} of a map of {_times(record.map_shape)}, "
        f"input {_times(record.input_shape)}.",
        "Side: root of the number of pixels above 4.55 % of the largest influence; extent: pixels with any influence. "
        "The field of a deep network is near Gaussian and far smaller than its extent.",
        "The record has no error; radii that change by at most 1 % count as the same.",
        ("The field reaches the border of the input, where radii are cut off.") if reached else "",
        (f"The models' last maps are of different layers: {', '.join(sorted(layers))}.") if len(layers) > 1 else "",
        (f"A point of the picture is the mean of {number(pixels)} pixels.") if pixels > 1 else "",
    )


def _times(sizes: Sequence[int], between: str = " × ") -> str:
    return between.join(map(str, sizes))


section = Spec(
    VERDICT,
    title="Effective receptive field",
    about="The effective receptive field is how strongly each pixel of the input moves the central unit of a late "
    "layer. Larger radii say that the unit draws on a wider surrounding, which is neither good nor bad by itself.",
    figures=lambda items: (_field(items),),
    notes=_notes,
)
