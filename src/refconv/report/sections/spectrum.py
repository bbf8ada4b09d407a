"""The Gram's spectrum of the start: how uneven the geometry of refocusing is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import BEFORE, Measured
from refconv.measures.verdicts.planes import times
from refconv.measures.verdicts.spectrum import VERDICT
from refconv.report.charts import Dots, Guide, Line, dot_chart, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.per_layer import PICTURED, pictured_note, spread
from refconv.report.sections.spec import Spec


def _defined(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row.condition is not None]


def _figures(items: Sequence[Measured]) -> list[Figure]:
    rows = items[0].record.layers
    return [_summary(rows), *map(_spectrum, spread(_defined(rows)))]


def _summary(rows: Sequence[Any]) -> Figure:
    shares = {row.layer: _share(row) for row in rows}
    cells = tuple(
        (
            row.layer,
            row.kind,
            times(row.kernel_size),
            number(row.mean_eigenvalue),
            number(row.rank),
            number(row.condition),
            number(row.effective_rank),
        )
        for row in rows
    )
    known = [(share, layer) for layer, share in shares.items() if share is not None]
    said = ""
    if known:
        said = f" From {percent(min(known)[0])} in {min(known)[1]} to {percent(max(known)[0])} in {max(known)[1]}."
    return Figure(
        dot_chart(
            [Dots(layer, {"before": share}) for layer, share in shares.items()],
            {"before": "start"},
            title="Effective rank per layer",
            x_label="effective rank over taps",
            guides=(Guide("x", 1, "even"),),
        ),
        alt=f"Effective rank of the Gram over the number of taps in {count(len(rows), 'layer')}.{said}",
        caption="Effective rank of each layer's Gram as a share of its taps: 1 is the even spectrum of plain training.",
        table=Table(
            "Spectrum per layer",
            ("layer", "kind", "kernel", "mean eigenvalue", "rank", "condition", "effective rank"),
            cells,
        ),
    )


def _share(row: Any) -> float | None:
    rank = row.effective_rank
    return None if rank is None else float(rank / len(row.eigenvalues))


def _spectrum(row: Any) -> Figure:
    values = row.eigenvalues
    places = [float(place) for place in range(1, len(values) + 1)]
    drawing = line_chart(
        [Line("start", "before", places, [value if value > 0 else None for value in values])],
        title=f"Eigenvalues of the Gram of {row.layer}",
        x_label="eigenvalue",
        y_label="over their mean",
        y_log=True,
        guides=(Guide("y", 1, "even"),),
    )
    return Figure(
        drawing,
        alt=f"Eigenvalues of the Gram of {row.layer} over their mean, falling from {number(values[0])} to "
        f"{number(values[-1])}; condition {number(row.condition)}.",
        caption=f"Eigenvalues of the Gram of {row.layer} over their mean, means over "
        f"{count(row.sampled, 'block')}, on a logarithmic axis.",
        table=Table(
            f"Eigenvalues of {row.layer}",
            ("number", "over their mean"),
            tuple((str(place + 1), number(value)) for place, value in enumerate(values)),
        ),
        choice="layer",
        option=row.layer,
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    record = items[0].record
    rows = record.layers
    short = [row.layer for row in rows if row.rank is not None and row.rank < len(row.eigenvalues)]
    dead = [row.layer for row in rows if row.condition is None]
    cut = sum(row.sampled < row.blocks for row in rows)
    several = any(item.record != record for item in items)
    return (
        "The mean eigenvalue is by how much refocusing changes a layer's learning rate unless it is normalised.",
        f"Of refocusing with map size {times(record.map_size)}, order {record.order}.",
        (f"In {count(len(short), 'layer')} the rank is below the number of taps: some patterns refocusing cannot move.")
        if short
        else "",
        (f"All zero: {', '.join(dead)}.") if dead else "",
        (f"Measured on a sample of the blocks of {count(cut, 'layer')}.") if cut else "",
        (f"The pairs' records of the {BEFORE} model differ; drawn is that of {items[0].name}.") if several else "",
        *pictured_note(min(PICTURED, len(_defined(rows))), len(_defined(rows)), "spectrum"),
    )


section = Spec(
    VERDICT,
    title="Spectrum of the Gram",
    about="Refocusing multiplies every gradient by the Gram of the base kernels, whose eigenvalues say how much "
    "faster some patterns learn than others. Plain training is a flat spectrum: all eigenvalues 1, condition 1, an "
    "effective rank of all taps.",
    figures=_figures,
    notes=_notes,
)
