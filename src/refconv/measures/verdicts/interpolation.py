"""The loss on the straight line from before to after."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.findings import Finding
from refconv.measures.numbers import number
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import course

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


VERDICT = Verdict(
    "interpolation",
    findings=lambda item: (_barrier(item),),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
)
