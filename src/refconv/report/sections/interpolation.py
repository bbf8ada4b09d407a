"""The loss on the straight line from before to after."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from refconv.measures.numbers import number
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.interpolation import VERDICT
from refconv.report.elements import Figure
from refconv.report.sections.figures import Curve, curve_figure
from refconv.report.sections.losses import conditions_note, loss_label
from refconv.report.sections.spec import Spec


def _line(items: Sequence[Measured]) -> Figure:
    title = "Loss between before and after"
    barriers = ", ".join(f"{item.name} {number(item.record.barrier)}" for item in items)
    return curve_figure(
        [Curve(item.name, item.role, item.record.shares, item.record.losses) for item in items],
        title=title,
        x_label="share of after",
        y_label=loss_label(items),
        head="share of after",
        show=partial(number, digits=4),
        table=loss_label(items),
        before=[("before, as it is", *(number(item.record.before, 4) for item in items))],
        behind=[("after, as it is", *(number(item.record.after, 4) for item in items))],
        alt=f"Loss against the share of after, from 0 (before) to 1 (after). Barrier: {barriers}.",
        caption=f"{title}, batch-norm statistics recalibrated at every point.",
    )


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
