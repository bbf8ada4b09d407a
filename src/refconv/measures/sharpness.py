"""How much the loss rises around a model, and how it curves at it; the records and their verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from refconv.measures.judging import SURENESS, Change, Difference, agreed, paired, student
from refconv.measures.landscape import Conditions
from refconv.measures.numbers import compared, count, course, fine_number, number, percent, signed
from refconv.measures.pairs import Measured
from refconv.measures.tables import counted, short, text_table
from refconv.measures.verdict import REFCONV, Said, Verdict, claim, worded
from refconv.records import Record


@dataclass(frozen=True)
class Spread(Record):
    """Numbers, one a direction, and what they say together."""

    values: tuple[float, ...]  #: one per direction, in the unit of the loss
    mean: float
    deviation: float  #: their standard deviation, with n - 1
    error: float  #: standard error of the mean, deviation / sqrt(n)

    def __str__(self) -> str:
        return f"{short(self.mean)} +- {short(self.error)}"


@dataclass(frozen=True)
class ModelSharpness(Record):
    """How sharply the loss rises around one model."""

    as_is: float  #: the model's own loss, nothing recalibrated
    centre: float  #: the same with batch norms recalibrated, from which rises are counted
    rise: Spread  #: per direction; may be negative where the model is no minimum of this loss


@dataclass(frozen=True)
class Sharpness(Record):
    """Sharpness of two models over the same directions."""

    radius: float  #: relative distance r that every filter moved
    before: ModelSharpness
    after: ModelSharpness
    difference: Spread  #: of the rises by direction, after - before; below 0 where the second model is flatter
    conditions: Conditions  #: what losses were measured on
    seed: int  #: of the directions

    def __str__(self) -> str:
        rows = [
            (title, short(model.as_is, 4), short(model.centre, 4), str(model.rise), short(model.rise.deviation))
            for title, model in (("before", self.before), ("after", self.after))
        ]
        rows.append(("after - before", "", "", str(self.difference), short(self.difference.deviation)))
        header = ("model", "loss as it is", "recalibrated", "mean rise", "deviation")
        count = len(self.difference.values)
        return f"{text_table(header, rows)}\n{count} directions, radius {short(self.radius)}; {self.conditions}"


_SHARPNESS_WORDS: dict[Change, str] = {
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
    together = _directions(subject) == _directions(reference)
    return spreads_difference(reference.after.rise, subject.after.rise, together=together)


def _directions(item: Measured) -> tuple[Any, ...]:
    return item.record.seed, len(item.after.rise.values)


def _sharpness_findings(item: Measured) -> Iterator[Said]:
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


def _sharpness_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    found = _between(subject, reference)
    if found.value is None:
        text = f"{subject.name} and {reference.name} were moved by different distances and cannot be compared."
        yield text, "unclear"
        return
    change = found.judged(lower=True)
    means = [item.after.rise.mean for item in (subject, reference)]
    ends = f"{compared(number, reference.name, *means)} {difference_words(found)}: {SURENESS[change]})"
    yield f"Around {subject.name} the mean rise is {ends}.", change, found.p


SHARPNESS = Verdict(
    "sharpness",
    _sharpness_findings,
    _sharpness_contrasts,
    lambda items: claim(
        "After refocusing the loss landscape is smoother: the loss rises less around the model.",
        REFCONV,
        items,
        lambda item: worded(_difference(item).judged(lower=True), _SHARPNESS_WORDS),
        lambda item, plain: _between(item, plain).judged(lower=True),
    ),
)


@dataclass(frozen=True)
class Curvature(Record):
    """Curvature of the loss at one model."""

    loss: float  #: the model's own loss
    eigenvalues: tuple[float, ...]  #: the Hessian's largest, descending, in units of the loss over ``units`` squared
    errors: tuple[float, ...]  #: each eigenvalue is within this of a true one
    smallest: float  #: the smallest eigenvalue seen, below 0 where the loss curves down
    smallest_error: float  #: smallest is within this of a true one; the true smallest may lie lower
    converged: bool  #: whether all of ``eigenvalues`` are within the tolerance
    steps: int  #: Lanczos steps, each one Hessian-vector product
    trace: Spread | None  #: sum of all eigenvalues, estimated by one number per random vector; None if not asked
    units: str  #: ``weights``, or ``filters``: weights over the root mean square of their filter
    dimension: int  #: number of weights that the Hessian is taken over
    samples: int  #: over how many samples
    cut: bool  #: whether there were more that ``max_samples`` left out
    seed: int  #: of the random vectors

    def __str__(self) -> str:
        found = [*zip(self.eigenvalues, self.errors, strict=True), (self.smallest, self.smallest_error)]
        names = [*(f"eigenvalue {index}" for index in range(1, len(found))), "smallest seen"]
        if self.trace:
            found, names = [*found, (self.trace.mean, self.trace.error)], [*names, "trace"]
        rows = [(name, short(value, 4), short(error, 1)) for name, (value, error) in zip(names, found, strict=True)]
        state = f"{'converged' if self.converged else 'not converged'} after {self.steps} steps"
        text = f"Hessian over {self.dimension:,} weights in units of {self.units}, {counted(self)}; {state}"
        return f"{text_table(('curvature', 'value', 'error'), rows)}\n{text}"


SAMPLED = 0.1
"""Change of the largest eigenvalue, relative, up to which it counts as unclear: its error over samples is not known."""

_CURVATURE_WORDS: dict[Change, str] = {
    "better": "The loss curves less at the later model",
    "worse": "The loss curves more at the later model",
    "same": "The loss curves alike at both models",
    "unclear": "Whether the loss curves less at the later model cannot be told",
}

Sides = tuple[Any, Any]


def _largest(sides: Sides) -> Change:
    """Return how the largest eigenvalue changed, against the bounds of both and `SAMPLED`."""
    if sides[0].units != sides[1].units:
        return "unclear"
    values, errors = ([getattr(side, key)[0] for side in sides] for key in ("eigenvalues", "errors"))
    return Difference(values[1] - values[0], max(sum(errors), SAMPLED * abs(values[0])), 1.0).judged(lower=True)


def _trace(sides: Sides) -> Difference | None:
    """Return the difference of the traces, by random vector where both took the same; None without traces."""
    first, second = (side.trace for side in sides)
    if first is None or second is None or sides[0].units != sides[1].units:
        return None
    draws = [(side.seed, side.dimension, len(side.trace.values)) for side in sides]
    return spreads_difference(first, second, together=draws[0] == draws[1])


def _together(sides: Sides) -> Change:
    trace = _trace(sides)
    return agreed([_largest(sides), *([trace.judged(lower=True)] if trace else [])])


def _curvature_findings(item: Measured) -> Iterator[Said]:
    values = [side.eigenvalues[0] for side in item.sides]
    bounds = " and ".join(number(side.errors[0], 1) for side in item.sides)
    text = f"The Hessian's largest eigenvalue {course(number, *values)} (known to within {bounds})."
    yield text, _largest(item.sides)
    trace = _trace(item.sides)
    if trace:
        change = trace.judged(lower=True)
        went = course(number, *(side.trace.mean for side in item.sides))
        yield f"The trace of the Hessian {went} {difference_words(trace)}: {SURENESS[change]}).", change, trace.p


def _curvature_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = subject.after, reference.after
    if mine.units != theirs.units:
        yield f"{subject.name} and {reference.name} were measured in different units and cannot be compared.", "unclear"
        return
    largest = compared(number, reference.name, mine.eigenvalues[0], theirs.eigenvalues[0])
    text = f"At {subject.name} the largest eigenvalue is {largest}"
    if _trace((theirs, mine)):
        text += f", the trace {compared(number, reference.name, mine.trace.mean, theirs.trace.mean)}"
    yield f"{text}.", _together((theirs, mine))


CURVATURE = Verdict(
    "curvature",
    _curvature_findings,
    _curvature_contrasts,
    lambda items: claim(
        "After refocusing the loss landscape is smoother: smaller eigenvalues of the Hessian.",
        REFCONV,
        items,
        lambda item: worded(_together(item.sides), _CURVATURE_WORDS),
        lambda item, plain: _together((plain.after, item.after)),
    ),
)
