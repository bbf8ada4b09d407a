"""The loss between two models, and around them along a line or over a plane; the records and their verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from refconv.measures.judging import Change, agreed
from refconv.measures.numbers import compared, count, course, number
from refconv.measures.pairs import Measured
from refconv.measures.tables import Sampled, counted, short, text_table
from refconv.measures.verdict import REFCONV, Said, Verdict, claim, worded
from refconv.records import Record
from refconv.sentences import capital


@dataclass(frozen=True)
class Conditions(Sampled):
    """What a loss was measured on."""

    calibration_samples: int  #: on which batch-norm statistics were collected, at weights that are no model's
    calibration_cut: bool  #: whether there were more
    norms: int  #: how many batch-norm layers were recalibrated

    def __str__(self) -> str:
        text = f"loss over {counted(self)}"
        if not self.norms:
            return f"{text}; no batch norm to recalibrate"
        more = " of more" if self.calibration_cut else ""
        return f"{text}; {self.norms} batch norms recalibrated on {self.calibration_samples:,} samples{more}"


@dataclass(frozen=True)
class Interpolation(Record):
    """The loss between two models."""

    shares: tuple[float, ...]  #: t, from 0 (before) to 1 (after)
    losses: tuple[float | None, ...]  #: at each t, batch norms recalibrated; None where the loss is not finite
    before: float  #: the first model's own loss, nothing recalibrated
    after: float  #: the second's
    barrier: float | None  #: highest rise above the line between the recalibrated ends; None if a loss is not finite
    conditions: Conditions  #: what losses were measured on

    def __str__(self) -> str:
        rows = [(short(t), short(loss, 4)) for t, loss in zip(self.shares, self.losses, strict=True)]
        rows = [("before, as it is", short(self.before, 4)), *rows, ("after, as it is", short(self.after, 4))]
        return f"{text_table(('share of after', 'loss'), rows)}\nbarrier {short(self.barrier)}; {self.conditions}"


NONE = 0.02  #: Barrier, relative to the larger loss of the two ends, up to which there is none to speak of


def has_barrier(item: Measured) -> bool | None:
    """Return whether the loss rises between the two models by more than `NONE` of it; None if that is not known."""
    barrier, (first, *_, last) = item.record.barrier, item.record.losses
    if barrier is None:
        return None
    return bool(barrier > NONE * max(first, last))


def _interpolation_findings(item: Measured) -> Iterator[Said]:
    ends, size = course(number, *item.sides), f"the barrier is {number(item.record.barrier)}"
    barrier, end = has_barrier(item), "whether there is a barrier is not known"
    if barrier is None:
        yield f"The loss {ends}, but is not finite somewhere on the line between: {end}.", "unclear"
    elif barrier:
        yield f"The loss {ends}, and between the two it rises: {size}, it left the basin of the start.", "different"
    else:
        yield f"The loss {ends}, with no rise to speak of in between: {size}, so that both lie in one basin.", "same"


def _interpolation_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
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


INTERPOLATION = Verdict("interpolation", _interpolation_findings, _interpolation_contrasts)


@dataclass(frozen=True)
class ModelLine(Record):
    """The loss of one model along a direction."""

    as_is: float  #: the model's own loss, nothing recalibrated
    losses: tuple[float | None, ...]  #: at each distance, batch norms recalibrated; None where the loss is not finite


@dataclass(frozen=True)
class LossLine(Record):
    """The loss of two models along one shared direction."""

    distances: tuple[float, ...]  #: relative to every filter's norm, -radius to radius with 0 in the middle
    before: ModelLine
    after: ModelLine
    conditions: Conditions  #: what losses were measured on
    seed: int  #: of the direction

    def __str__(self) -> str:
        rows = [
            (short(distance), short(first, 4), short(second, 4))
            for distance, first, second in zip(self.distances, self.before.losses, self.after.losses, strict=True)
        ]
        rows.append(("as it is", short(self.before.as_is, 4), short(self.after.as_is, 4)))
        return f"{text_table(('distance', 'before', 'after'), rows)}\n{self.conditions}"


@dataclass(frozen=True)
class ModelSurface(Record):
    """The loss of one model over a plane."""

    as_is: float  #: the model's own loss, nothing recalibrated
    #: a row per distance along the first direction, a column per distance along the second; batch norms recalibrated;
    #: None where the loss is not finite
    losses: tuple[tuple[float | None, ...], ...]


@dataclass(frozen=True)
class LossSurface(Record):
    """The loss of two models over the plane of two shared directions; fields as those of :class:`LossLine`.

    The first direction is that of the line of the same seed.
    """

    distances: tuple[float, ...]
    before: ModelSurface
    after: ModelSurface
    conditions: Conditions
    seed: int

    def __str__(self) -> str:
        header = ("along", *map(short, self.distances))
        parts = []
        for title, surface in (("before", self.before), ("after", self.after)):
            rows = [(at, *losses) for at, losses in zip(self.distances, surface.losses, strict=True)]
            parts.append(f"{title}, as it is {short(surface.as_is, 4)}\n{text_table(header, rows)}")
        return "\n".join([*parts, str(self.conditions)])


NEARLY_ALL = 0.95  #: Share of the points from which on the loss counts as lower or higher
Side = Literal["before", "after"]
End = tuple[Measured, Side]  #: One of the two models of a pair


Rises = list[tuple[float, float]]  #: of the loss over its middle around two models, at points where both are finite


def rises(one: End, other: End) -> Rises:
    """Return the rises around two models, along a line or over a plane; none if they cannot be compared."""
    (distances, first), (others, second) = map(_losses, (one, other))
    middle = len(first) // 2
    start, end = first[middle], second[middle]
    if distances != others or start is None or end is None:
        return []
    both = enumerate(zip(first, second, strict=True))
    return [(a - start, b - end) for at, (a, b) in both if a is not None and b is not None and at != middle]


def _judged(found: Rises) -> Change:
    """Return what rises say: better where those of the second model are lower at nearly all points."""
    lower, higher = sum(b < a for a, b in found), sum(b > a for a, b in found)
    if not lower and not higher:
        return "same" if found else "unclear"
    if lower >= NEARLY_ALL * len(found):
        return "better"
    return "worse" if higher >= NEARLY_ALL * len(found) else "unclear"


def _summary(found: Rises) -> tuple[float, float, int, str]:
    """Return the mean rises, at how many points the second is lower, and how many points there are."""
    first, second = (math.fsum(side) / len(found) for side in zip(*found, strict=True))
    return first, second, sum(b < a for a, b in found), count(len(found), "point")


def _losses(end: End) -> tuple[list[float], list[float | None]]:
    """Return the distances that a model walked, and its losses, the middle one in the middle."""
    item, side = end
    found = [loss for row in getattr(item.record, side).losses for loss in (row if isinstance(row, tuple) else (row,))]
    return list(item.record.distances), found


_WORDS: dict[Change, str] = {
    "better": "Around the later model the loss rises less at nearly every distance",
    "worse": "Around the later model the loss rises more at nearly every distance",
    "same": "The loss rises alike around both models",
    "unclear": "Whether the bowl is wider cannot be told: the loss rises neither less nor more at nearly all distances",
}

_WHERE = {"landscape": "along one random direction", "surface": "over a plane of two directions"}


def with_record(items: Sequence[Measured], name: str) -> list[Measured]:
    """Return the pairs that have a record of this name, with it."""
    return [Measured(item.role, item.pair, record) for item in items if (record := item.pair.record(name))]


def _both(first: Measured, second: Measured, side: Side) -> Iterator[tuple[str, Measured, Rises]]:
    """Yield where both have records, the second pair with its record, and the rises beside one side of the first."""
    for name, where in _WHERE.items():
        held = with_record([first, second], name)
        if len(held) == 2:
            yield where, held[1], rises((held[0], side), (held[1], "after"))


def _agreed(first: Measured, second: Measured, side: Side) -> Change:
    """Return what line and plane together say of the second pair's result beside one side of the first."""
    return agreed([_judged(found) for _, _, found in _both(first, second, side)] or ["unclear"])


def _landscape_findings(item: Measured) -> Iterator[Said]:
    for where, held, found in _both(item, item, "before"):
        text = f"The losses {where} cannot be compared: the loss of a model itself is not finite."
        if found:
            first, second, lower, points = _summary(found)
            text = (
                f"{capital(where)}, as far as {number(max(held.record.distances))} times the filters' norms, "
                f"the loss rises on average by {number(first)} before and by {number(second)} after; it rises less "
                f"after at {lower} of {points}."
            )
        yield text, _judged(found)


def _landscape_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    for where, _, found in _both(reference, subject, "after"):
        text = f"{subject.name} and {reference.name} cannot be compared {where}: they share no finite losses."
        if found:
            first, second, lower, points = _summary(found)
            ends = compared(number, reference.name, second, first)
            text = f"{capital(where)} the mean rise around {subject.name} is {ends}, and less at {lower} of {points}."
        yield text, _judged(found)


LANDSCAPE = Verdict(
    "landscape",
    _landscape_findings,
    _landscape_contrasts,
    lambda items: claim(
        "After refocusing the loss landscape is smoother: a wider bowl around the model.",
        REFCONV,
        items,
        lambda item: worded(_agreed(item, item, "before"), _WORDS),
        lambda item, plain: _agreed(plain, item, "after"),
    ),
    more=("surface",),
)
