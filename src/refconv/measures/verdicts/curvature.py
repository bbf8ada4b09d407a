"""Curvature of the loss: the Hessian's largest eigenvalues and its trace."""

from __future__ import annotations

import math
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import Difference, agreed, paired, student
from refconv.measures.numbers import number, signed
from refconv.measures.pairs import Measured
from refconv.measures.support import REFCONV, claim
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import SURENESS, compared, course

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
    if draws[0] == draws[1]:
        return paired(first.values, second.values)
    fewest = min(len(first.values), len(second.values))
    return Difference(second.mean - first.mean, math.hypot(first.error, second.error), student(fewest))


def _together(sides: Sides) -> Change:
    trace = _trace(sides)
    return agreed([_largest(sides), *([trace.judged(lower=True)] if trace else [])])


def _of_pair(item: Measured) -> list[Finding]:
    sides = (item.before, item.after)
    values = [side.eigenvalues[0] for side in sides]
    bounds = " and ".join(number(side.errors[0], 1) for side in sides)
    text = f"The Hessian's largest eigenvalue {course(number, *values)} (known to within {bounds})."
    found = [Finding(item.name, text, _largest(sides))]
    trace = _trace(sides)
    if trace:
        change = trace.judged(lower=True)
        means = [side.trace.mean for side in sides]
        text = (
            f"The trace of the Hessian {course(number, *means)} (difference "
            f"{signed(trace.value)} ± {number(trace.error, 2)}: "
            f"{SURENESS[change]})."
        )
        found.append(Finding(item.name, text, change, trace.p))
    return found


def _contrast(subject: Measured, reference: Measured) -> Finding:
    sides = (reference.after, subject.after)
    if sides[0].units != sides[1].units:
        text = f"{subject.name} and {reference.name} were measured in different units and cannot be compared."
        return Finding(subject.name, text, "unclear")
    values = [side.eigenvalues[0] for side in reversed(sides)]
    text = f"At {subject.name} the largest eigenvalue is {compared(number, reference.name, *values)}"
    if _trace(sides):
        means = [side.trace.mean for side in reversed(sides)]
        text += f", the trace {compared(number, reference.name, *means)}"
    return Finding(subject.name, f"{text}.", _together(sides))


VERDICT = Verdict(
    "curvature",
    findings=_of_pair,
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    claim=lambda items: claim(
        "After refocusing the loss landscape is smoother: smaller eigenvalues of the Hessian.",
        REFCONV,
        items,
        lambda item: _together((item.before, item.after)),
        _WORDS,
        lambda item, plain: _together((plain.after, item.after)),
    ),
)
