"""Sharpness: how much the loss rises around a model, with its spread over directions; the record and its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from refconv.measures.conditions import Conditions
from refconv.measures.findings import Change
from refconv.measures.judging import SURENESS, Difference, paired, student
from refconv.measures.numbers import compared, count, course, fine_number, number, percent, signed
from refconv.measures.pairs import Measured
from refconv.measures.tables import short, text_table
from refconv.measures.verdict import REFCONV, Said, Verdict, claim
from refconv.records import Record


@dataclass(frozen=True)
class Spread(Record):
    """Numbers, one a direction, and what they say together.

    Attributes:
        values: one per direction, in the unit of the loss.
        mean: their mean.
        deviation: their standard deviation, with n - 1.
        error: standard error of the mean, deviation / sqrt(n).
    """

    values: tuple[float, ...]
    mean: float
    deviation: float
    error: float

    def __str__(self) -> str:
        return f"{short(self.mean)} +- {short(self.error)}"


@dataclass(frozen=True)
class ModelSharpness(Record):
    """How sharply the loss rises around one model.

    Attributes:
        as_is: the model's own loss, nothing recalibrated.
        centre: the same with batch norms recalibrated, from which rises are counted.
        rise: per direction; may be negative where the model is no minimum of this loss.
    """

    as_is: float
    centre: float
    rise: Spread


@dataclass(frozen=True)
class Sharpness(Record):
    """Sharpness of two models over the same directions.

    Attributes:
        radius: relative distance r that every filter moved.
        before: the first model.
        after: the second.
        difference: of the rises, after - before, direction by direction; below 0 where the second model is flatter.
        conditions: what losses were measured on.
        seed: of the directions.
    """

    radius: float
    before: ModelSharpness
    after: ModelSharpness
    difference: Spread
    conditions: Conditions
    seed: int

    def __str__(self) -> str:
        rows = [
            (title, short(model.as_is, 4), short(model.centre, 4), str(model.rise), short(model.rise.deviation))
            for title, model in (("before", self.before), ("after", self.after))
        ]
        rows.append(("after - before", "", "", str(self.difference), short(self.difference.deviation)))
        header = ("model", "loss as it is", "recalibrated", "mean rise", "deviation")
        count = len(self.difference.values)
        return f"{text_table(header, rows)}\n{count} directions, radius {short(self.radius)}; {self.conditions}"


_WORDS: dict[Change, str] = {
    "better": "The loss rises less around the later model",
    "worse": "The loss rises more around the later model",
    "same": "The loss rises alike around both models",
    "unclear": "How much the loss rises does not differ by more than chance",
}


def spreads_difference(first: Spread, second: Spread, *, together: bool) -> Difference:
    """Return the difference of two means, value by value where they belong ``together``."""
    if together:
        return paired(first.values, second.values)
    fewest = min(len(first.values), len(second.values))
    return Difference(second.mean - first.mean, math.hypot(first.error, second.error), student(fewest))


def difference_words(found: Difference) -> str:
    """Return a difference with its standard error, as the beginning of a parenthesis."""
    return f"(difference {signed(found.value)} ± {number(found.error, 2)}"


def _difference(item: Measured) -> Difference:
    found = item.record.difference
    return Difference(found.mean, found.error, student(len(found.values)))


def _between(subject: Measured, reference: Measured) -> Difference:
    """Return how one pair's result differs from another's, by direction where both walked along the same ones."""
    if subject.record.radius != reference.record.radius:
        return Difference(None, None)
    return spreads_difference(
        reference.after.rise, subject.after.rise, together=_directions(subject) == _directions(reference)
    )


def _directions(item: Measured) -> tuple[Any, ...]:
    return item.record.seed, len(item.after.rise.values)


def _findings(item: Measured) -> Iterator[Said]:
    found = _difference(item)
    change = found.judged(lower=True)
    text = (
        f"With every filter moved by {percent(item.record.radius, 0)} of its norm the loss rises by "
        f"{number(item.before.rise.mean)} before and by {number(item.after.rise.mean)} after "
        f"{difference_words(found)} over {count(len(item.record.difference.values), 'direction')}: {SURENESS[change]})."
    )
    yield text, change, found.p
    losses = [side.as_is for side in item.sides]
    same = fine_number(losses[0]) == fine_number(losses[1])
    yield f"The loss itself {course(fine_number, *losses)} on these samples.", "same" if same else "different"


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    found = _between(subject, reference)
    if found.value is None:
        yield (
            f"{subject.name} and {reference.name} were moved by different distances and cannot be compared.",
            "unclear",
        )
        return
    change = found.judged(lower=True)
    means = [item.after.rise.mean for item in (subject, reference)]
    text = (
        f"Around {subject.name} the mean rise is {compared(number, reference.name, *means)} {difference_words(found)}"
    )
    yield f"{text}: {SURENESS[change]}).", change, found.p


SHARPNESS = Verdict(
    "sharpness",
    _findings,
    _contrasts,
    lambda items: claim(
        "After refocusing the loss landscape is smoother: the loss rises less around the model.",
        REFCONV,
        items,
        lambda item: _difference(item).judged(lower=True),
        _WORDS,
        lambda item, plain: _between(item, plain).judged(lower=True),
    ),
)
