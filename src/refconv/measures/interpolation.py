"""The loss on the straight line between two models; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from refconv.measures.conditions import Conditions
from refconv.measures.numbers import course, number
from refconv.measures.pairs import Measured
from refconv.measures.tables import short, text_table
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class Interpolation(Record):
    """The loss between two models.

    Attributes:
        shares: t, from 0 (before) to 1 (after).
        losses: at each t, batch norms recalibrated; None where the loss is not finite.
        before: the first model's own loss, nothing recalibrated.
        after: the second's.
        barrier: highest rise over the straight line between the recalibrated ends, 0 or more; None if a loss is not
            finite.
        conditions: what losses were measured on.
    """

    shares: tuple[float, ...]
    losses: tuple[float | None, ...]
    before: float
    after: float
    barrier: float | None
    conditions: Conditions

    def __str__(self) -> str:
        rows = [(short(t), short(loss, 4)) for t, loss in zip(self.shares, self.losses, strict=True)]
        rows = [("before, as it is", short(self.before, 4)), *rows, ("after, as it is", short(self.after, 4))]
        return f"{text_table(('share of after', 'loss'), rows)}\nbarrier {short(self.barrier)}; {self.conditions}"


NONE = 0.02
"""Barrier, relative to the larger loss of the two ends, up to which there is none to speak of."""


def has_barrier(item: Measured) -> bool | None:
    """Return whether the loss rises between the two models by more than `NONE` of it; None if that is not known."""
    barrier, (first, *_, last) = item.record.barrier, item.record.losses
    if barrier is None:
        return None
    return bool(barrier > NONE * max(first, last))


def _findings(item: Measured) -> Iterator[Said]:
    ends, size = course(number, *item.sides), f"the barrier is {number(item.record.barrier)}"
    match has_barrier(item):
        case None:
            unknown = "whether there is a barrier is not known"
            yield f"The loss {ends}, but is not finite somewhere on the line between: {unknown}.", "unclear"
        case True:
            where = "it left the basin of the start"
            yield f"The loss {ends}, and between the two it rises: {size}, {where}.", "different"
        case False:
            where = "both lie in one basin"
            yield f"The loss {ends}, with no rise to speak of in between: {size}, so that {where}.", "same"


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = has_barrier(subject), has_barrier(reference)
    if mine is None or theirs is None:
        names = f"{subject.name} and {reference.name}"
        yield f"The barriers of {names} cannot be compared: one of them is not known.", "unclear"
        return
    sizes = [f"{number(item.record.barrier)} with {item.name}" for item in (subject, reference)]
    if mine != theirs:
        end = f"only the {'first' if mine else 'second'} left the basin of the start"
    else:
        end = "both left the basin of the start" if mine else "both stayed in the basin of the start"
    yield f"The barrier is {sizes[0]} and {sizes[1]}: {end}.", "same" if mine == theirs else "different"


INTERPOLATION = Verdict("interpolation", _findings, _contrasts)
