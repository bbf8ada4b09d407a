"""The loss on the straight line from before to after."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.numbers import number
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.interpolation import VERDICT
from refconv.report.charts import Line, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import conditions_note, loss_label
from refconv.report.sections.spec import Spec


def _line(items: Sequence[Measured]) -> Figure:
    lines = [Line(item.name, item.role, item.record.shares, item.record.losses) for item in items]
    label = loss_label(items)
    title = "Loss between before and after"
    barriers = ", ".join(f"{item.name} {number(item.record.barrier)}" for item in items)
    return Figure(
        line_chart(lines, title=title, x_label="share of after", y_label=label),
        alt=f"Loss against the share of after, from 0 (before) to 1 (after). Barrier: {barriers}.",
        caption=f"{title}, batch-norm statistics recalibrated at every point.",
        table=_table(items),
    )


def _table(items: Sequence[Measured]) -> Table:
    rows = [("before, as it is", *(number(item.record.before, 4) for item in items))]
    shares = list(dict.fromkeys(share for item in items for share in item.record.shares))
    values = [dict(zip(item.record.shares, item.record.losses, strict=True)) for item in items]
    rows += [(number(share), *(number(one.get(share), 4) for one in values)) for share in sorted(shares)]
    rows.append(("after, as it is", *(number(item.record.after, 4) for item in items)))
    return Table(loss_label(items), ("share of after", *(item.name for item in items)), tuple(rows))


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    return (
        *conditions_note(items),
        "Barrier: how far the loss rises above the straight line between the losses of the two ends, at most. Up to 2 "
        "% of the larger one counts as none.",
        "The losses of the sentences are those of the models as they are; the ends of the line are recalibrated.",
    )


section = Spec(
    VERDICT,
    title="Loss between before and after",
    about="The loss at mixtures of the two models' weights, from all before to all after. If it rises in between, "
    "a barrier, training left the basin that the start lies in; without one, it stayed in it.",
    figures=lambda items: (_line(items),),
    notes=_notes,
)
