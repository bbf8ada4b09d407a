"""How much of the kernels' magnitude lies on their central cross."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from refconv.measures.direction import RULE
from refconv.measures.layers import Quantity, field
from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import BEFORE, Measured
from refconv.measures.verdicts.planes import drawable, plane, times
from refconv.measures.verdicts.skeleton import RATIO, VERDICT
from refconv.report.charts import Guide, Heat, heat_maps
from refconv.report.elements import Figure, Table
from refconv.report.sections.per_layer import layer_figure
from refconv.report.sections.spec import Spec

SHARE = Quantity("share of magnitude on the cross", field("cross_share"), show=percent)


def _figures(items: Sequence[Measured]) -> list[Figure]:
    flat = (Guide("x", 1, "flat"),)
    ratio = "Mean magnitude on the cross over that in the corners; 1 is a flat kernel."
    share = "Share of a layer's whole magnitude that lies on the cross; a flat kernel of 3 × 3 has 55.6 %."
    return [
        *(_maps(items, size) for size in _sizes(items) if drawable(size)),
        layer_figure(items, RATIO, caption=ratio, guides=flat, choice="measure"),
        layer_figure(items, SHARE, caption=share, choice="measure"),
    ]


def _sizes(items: Sequence[Measured]) -> list[tuple[int, ...]]:
    return list(dict.fromkeys(tuple(row.kernel_size) for item in items for row in item.record.sizes))


def _of_size(item: Measured, size: tuple[int, ...]) -> Any:
    return next((row for row in item.record.sizes if tuple(row.kernel_size) == size), None)


def _maps(items: Sequence[Measured], size: tuple[int, ...]) -> Figure:
    """Return where the magnitude lies, per model, and below what changed."""
    found = [(item, row) for item in items if (row := _of_size(item, size)) is not None]
    first = found[0][1].before
    sides = [(BEFORE, first), *((item.name, row.after) for item, row in found)]
    levels = heat_maps(
        [Heat(name, plane(side.magnitudes, size) or []) for name, side in sides], unit="relative magnitude", low=0
    )
    changes = heat_maps(
        [Heat(f"{item.name} − {BEFORE}", plane(_difference(row), size) or []) for item, row in found],
        unit="change of relative magnitude",
        diverging=True,
    )
    said = ", ".join(f"{name} {number(side.ratio)}" for name, side in sides)
    rows = tuple(
        (name, number(side.cross), number(side.corners), number(side.ratio), percent(side.cross_share))
        for name, side in sides
    )
    layers = count(found[0][1].layers, "layer")
    return Figure(
        Markup("").join([levels, changes]),
        alt=f"Mean magnitude of every tap in {layers} of {times(size)} taps, a map per model, and what changed. "
        f"Ratio of cross to corners: {said}.",
        caption=f"Mean magnitude per tap, the largest of each layer set to 1, over {layers} of {times(size)} taps; "
        f"below, what changed since {BEFORE}.",
        table=Table(
            f"Skeleton of {times(size)} kernels", ("model", "cross", "corners", "ratio", "share on the cross"), rows
        ),
        choice="kernel size",
        option=times(size),
    )


def _difference(row: Any) -> list[float]:
    return [last - first for first, last in zip(row.before.magnitudes, row.after.magnitudes, strict=True)]


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    rows = [row for item in items for row in item.record.layers]
    zeros = sorted({row.layer for row in rows if row.before is None or row.after is None})
    sided = [getattr(row, side) for row in rows for side in ("before", "after") if getattr(row, side) is not None]
    solid = any(not drawable(size) for size in _sizes(items))
    return (
        RULE,
        "The ratio is not defined where a kernel has no corners, such as 2 × 2, or where they are zero."
        if any(side.ratio is None for side in sided)
        else "Magnitudes are means over the slices of a layer; each layer counts once.",
        (f"All zero in one of the models: {', '.join(zeros)}.") if zeros else "",
        ("Kernels of three dimensions are counted but not drawn.") if solid else "",
    )


section = Spec(
    VERDICT,
    title="Kernel skeletons",
    about="The skeleton of a kernel is its central cross, the middle row and the middle column; the corners are "
    "the rest. The ratio of the mean magnitude on the cross to that in the corners is 1 for a flat kernel and "
    "larger the stronger the skeleton is.",
    figures=_figures,
    notes=_notes,
)
