"""Curvature of the loss: the largest eigenvalues of the Hessian, and its trace; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from refconv.measures.findings import Change
from refconv.measures.judging import SURENESS, Difference, agreed
from refconv.measures.numbers import compared, course, number
from refconv.measures.pairs import Measured
from refconv.measures.sharpness import Spread, difference_words, spreads_difference
from refconv.measures.tables import counted, short, text_table
from refconv.measures.verdict import REFCONV, Said, Verdict, claim
from refconv.records import Record


@dataclass(frozen=True)
class Curvature(Record):
    """Curvature of the loss at one model.

    Attributes:
        loss: the model's own loss.
        eigenvalues: the largest of the Hessian, descending, in units of the loss over ``units`` squared.
        errors: each eigenvalue is within this of a true one.
        smallest: the smallest eigenvalue seen, below 0 where the loss curves down.
        smallest_error: smallest is within this of a true one; the true smallest may lie lower.
        converged: whether all of ``eigenvalues`` are within the tolerance.
        steps: Lanczos steps, each one Hessian-vector product.
        trace: sum of all eigenvalues, estimated: one number per random vector, mean, standard error; None if not asked.
        units: ``weights``, or ``filters``: weights over the root mean square of their filter.
        dimension: number of weights that the Hessian is taken over.
        samples: over how many samples.
        cut: whether there were more that ``max_samples`` left out.
        seed: of the random vectors.
    """

    loss: float
    eigenvalues: tuple[float, ...]
    errors: tuple[float, ...]
    smallest: float
    smallest_error: float
    converged: bool
    steps: int
    trace: Spread | None
    units: str
    dimension: int
    samples: int
    cut: bool
    seed: int

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

_WORDS: dict[Change, str] = {
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


def _findings(item: Measured) -> Iterator[Said]:
    values = [side.eigenvalues[0] for side in item.sides]
    bounds = " and ".join(number(side.errors[0], 1) for side in item.sides)
    text = f"The Hessian's largest eigenvalue {course(number, *values)} (known to within {bounds})."
    yield text, _largest(item.sides)
    trace = _trace(item.sides)
    if trace:
        change = trace.judged(lower=True)
        went = course(number, *(side.trace.mean for side in item.sides))
        yield f"The trace of the Hessian {went} {difference_words(trace)}: {SURENESS[change]}).", change, trace.p


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
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
    _findings,
    _contrasts,
    lambda items: claim(
        "After refocusing the loss landscape is smoother: smaller eigenvalues of the Hessian.",
        REFCONV,
        items,
        lambda item: _together(item.sides),
        _WORDS,
        lambda item, plain: _together((plain.after, item.after)),
    ),
)
