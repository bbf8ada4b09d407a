"""The loss on the straight line from before to after."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.findings import Finding
from refconv.measures.numbers import number
from refconv.measures.pairs import Measured
from refconv.measures.wording import course
from refconv.report.charts import Line, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import conditions_note, loss_label
from refconv.report.sections.spec import Spec

NONE = 0.02
"""Barrier, relative to the larger loss of the two ends, up to which there is none to speak of."""


def has_barrier(item: Measured) -> bool | None:
    """Return whether the loss rises between the two models by more than `NONE` of it; None if that is not known."""
    barrier, (first, *_, last) = item.record.barrier, item.record.losses
    if barrier is None:
        return None
    return bool(barrier > NONE * max(first, last))


def _barrier(item: Measured) -> Finding:
    record = item.record
    ends = course(number, record.before, record.after)
    barrier = has_barrier(item)
    if barrier is None:
        text = f"The loss {ends}, but is not finite somewhere on the line between: whether there is a barrier is not "
        "known."
        return Finding(item.name, text, "unclear")
    size = f"the barrier is {number(record.barrier)}"
    if barrier:
        where = "it left the basin of the start"
        return Finding(item.name, f"The loss {ends}, and between the two it rises: {size}, {where}.", "different")
    text = f"The loss {ends}, with no rise to speak of in between: {size}, so that both lie in one basin."
    return Finding(item.name, text, "same")


def _contrast(subject: Measured, reference: Measured) -> Finding:
    barriers = [has_barrier(item) for item in (subject, reference)]
    sizes = [number(item.record.barrier) for item in (subject, reference)]
    if None in barriers:
        text = f"The barriers of {subject.name} and {reference.name} cannot be compared: one of them is not known."
        return Finding(subject.name, text, "unclear")
    text = (
        f"The barrier is {sizes[0]} with {subject.name} and {sizes[1]} with {reference.name}: {_pair_words(barriers)}."
    )
    return Finding(subject.name, text, "same" if barriers[0] == barriers[1] else "different")


def _pair_words(barriers: Sequence[bool | None]) -> str:
    if barriers[0] != barriers[1]:
        return f"only the {'first' if barriers[0] else 'second'} left the basin of the start"
    return "both left the basin of the start" if barriers[0] else "both stayed in the basin of the start"


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
    name="interpolation",
    title="Loss between before and after",
    about="The loss at mixtures of the two models' weights, from all before to all after. If it rises in between, "
    "a barrier, training left the basin that the start lies in; without one, it stayed in it.",
    findings=lambda item: (_barrier(item),),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    figures=lambda items: (_line(items),),
    notes=_notes,
)
