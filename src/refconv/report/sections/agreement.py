"""Which samples and classes changed sides."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.numbers import percent, points
from refconv.measures.pairs import Measured, role_names
from refconv.measures.verdicts.agreement import VERDICT
from refconv.report.charts import Bars, bar_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.confusions import confusions_figure
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec

DRAWN = 20
"""Classes in the picture; the table has up to `LISTED`."""
LISTED = 100


def _figures(items: Sequence[Measured]) -> list[Figure]:
    confused = confusions_figure(items)
    return [_classes(items), *([confused] if confused else [])]


def _classes(items: Sequence[Measured]) -> Figure:
    nets = {item.role: {row.target: _net(row) for row in item.record.classes} for item in items}
    targets = sorted({target for net in nets.values() for target in net})
    most = sorted(targets, key=lambda target: (-max(abs(net.get(target, 0)) for net in nets.values()), target))
    drawn = sorted(most[:DRAWN])
    bars = [Bars(items[0].class_name(t), {role: net.get(t) for role, net in nets.items()}) for t in drawn]
    title = "Change of accuracy per class"
    drawing = bar_chart(bars, role_names(items, before=False), title=title, y_label="points")
    some = f" Of {len(targets)} classes the {DRAWN} that changed most." if len(targets) > DRAWN else ""
    return Figure(
        drawing,
        alt=f"Bars of the change of accuracy per class. {' '.join(_extremes(item, nets[item.role]) for item in items)}",
        caption=f"{title}, in percentage points: gained less lost, over the samples of the class.{some}",
        table=_table(items, most),
    )


def _net(row: Any) -> float:
    return 100 * float(row.gained - row.lost) / float(row.samples)


def _extremes(item: Measured, net: dict[int, float]) -> str:
    up, down = max(net, key=lambda target: net[target]), min(net, key=lambda target: net[target])
    if net[up] == net[down]:
        return f"{item.name}: {points(net[up] / 100, 1)} points in every class."
    ends = [f"{item.class_name(target)} {points(net[target] / 100, 1)} points" for target in (down, up)]
    return f"{item.name}: from {ends[0]} to {ends[1]}."


def _table(items: Sequence[Measured], most: Sequence[int]) -> Table:
    rows = []
    for target in most[:LISTED]:
        for item in items:
            for row in (row for row in item.record.classes if row.target == target):
                shares = (percent(getattr(row, side) / row.samples) for side in ("before", "after"))
                numbers = (f"{row.samples:,}", *shares, f"{row.gained:,}", f"{row.lost:,}")
                rows.append((item.class_name(target), item.name, *numbers))
    caption = "Accuracy per class and samples that changed sides, classes that changed most first"
    return Table(caption, ("class", "pair", "samples", "right before", "right after", "gained", "lost"), tuple(rows))


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    return (
        samples_note(items[0].record),
        "A small p says that the difference is no accident of these samples. It says nothing about other seeds: two "
        "trainings of one recipe change sides on many samples, too.",
    )


section = Spec(
    VERDICT,
    title="Samples gained and lost",
    about="Both models classify the same samples: some are right only after (gained), some only before (lost). "
    "If these split more unevenly than coins would, the change in accuracy is no accident of these samples.",
    figures=_figures,
    notes=_notes,
)
