"""Which patterns the slices of one kernel size share, and how far their distribution shifted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from markupsafe import Markup

from refconv.measures.numbers import number, percent
from refconv.measures.pairs import BEFORE, Measured
from refconv.measures.verdicts.components import BEYOND, LEADING, VERDICT, Size, of_size
from refconv.measures.verdicts.planes import drawable, plane, times
from refconv.report.charts import Line, Sheet, kernel_sheets, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.spec import Spec


def _sizes(items: Sequence[Measured]) -> list[Size]:
    return list(dict.fromkeys(tuple(row.kernel_size) for item in items for row in item.record.sizes))


def _figure(items: Sequence[Measured], size: Size) -> Figure:
    """Return the explained variances as lines, and the patterns as kernels."""
    found = [(item, row) for item in items if (row := of_size(item, size)) is not None]
    first = found[0][1]
    places = [float(place) for place in range(1, len(first.explained_before) + 1)]
    lines = [
        Line(BEFORE, "before", places, _visible(first.explained_before)),
        *(Line(item.name, item.role, places, _visible(row.explained_after)) for item, row in found),
    ]
    drawing = line_chart(
        lines, title="Explained variance", x_label="principal component", y_label="share of the variance", y_log=True
    )
    sheets = Markup("")
    if drawable(size):
        sheets = kernel_sheets([_sheet(item, row, size) for item, row in found])
    said = ", ".join(f"{line.name} {percent(sum(value or 0 for value in line.y[:LEADING]))}" for line in lines)
    shifts = ", ".join(f"{item.name} {number(row.shift)} (chance {number(row.chance)})" for item, row in found)
    return Figure(
        Markup("").join([drawing, sheets]),
        alt=f"Explained variance of the principal components of {times(size)} kernels, a line per model. The first "
        f"{LEADING} together: {said}. Shift from the start in nats: {shifts}.",
        caption=f"Explained variance of each model's own components of {times(size)} kernels"
        f"{'; below, the components that a pair shares, the largest first' if sheets else ''}.",
        table=_table(found, size),
        choice="kernel size",
        option=times(size),
    )


def _visible(shares: Sequence[float]) -> list[float | None]:
    """Leave out what is zero to rounding, which would stretch a logarithmic axis."""
    return [share if share > 1e-9 else None for share in shares]


def _sheet(item: Measured, row: Any, size: Size) -> Sheet:
    kernels = [plane(component, size) or [] for component in row.components]
    shares = row.explained
    names = [f"component {place + 1}, {percent(shares[place])}" for place in range(len(kernels))]
    return Sheet(f"{BEFORE} and {item.name}", kernels, names)


def _table(found: Sequence[tuple[Measured, Any]], size: Size) -> Table:
    before = found[0][1].explained_before
    rows = tuple(
        (
            str(place + 1),
            percent(before[place]),
            *(percent(row.explained_after[place]) for _, row in found),
            *(number(row.shift_of_components[place]) for _, row in found),
        )
        for place in range(len(before))
    )
    header = ("component", f"variance {BEFORE}", *(f"variance {item.name}" for item, _ in found))
    return Table(
        f"Explained variance and shift per component of {times(size)} kernels",
        (*header, *(f"shift {item.name} (nats)" for item, _ in found)),
        rows,
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    rows = [row for item in items for row in item.record.sizes]
    cut = {times(row.kernel_size): row for row in rows if row.sampled < row.slices}
    return (
        f"A shift counts from {number(BEYOND)} times that by chance on, which is the same with before and after "
        "exchanged for slices drawn at random: with few slices, histograms differ a lot for no reason.",
        "Explained variance that gathers in the first components says that slices became more alike.",
        *(f"Of the {size} kernels {row.sampled:,} of {row.slices:,} slices were used." for size, row in cut.items()),
        ("Components of kernels of three dimensions are not drawn.")
        if any(not drawable(size) for size in _sizes(items))
        else "",
    )


section = Spec(
    VERDICT,
    title="Principal components of kernels",
    about="The principal components of all slices of one kernel size are the patterns that they are made of, and "
    "the explained variance says how much each contributes. The shift is how far the distribution of the slices "
    "over these patterns differs between two models, in nats; a shift no larger than chance means nothing.",
    figures=lambda items: (_figure(items, size) for size in _sizes(items)),
    notes=_notes,
)
