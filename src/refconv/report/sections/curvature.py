"""Curvature of the loss: the Hessian's largest eigenvalues and its trace."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import Difference, agreed, paired, student
from refconv.measures.numbers import count, number, signed
from refconv.measures.pairs import Measured, models, role_names
from refconv.measures.support import REFCONV, claim
from refconv.measures.wording import SURENESS, compared, course
from refconv.report.charts import Bars, bar_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec

NEGATIVE = 0.05
"""Share of the largest eigenvalue below minus which the smallest one counts as clearly negative."""

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
            f"Its trace {course(number, *means)} (difference {signed(trace.value)} ± {number(trace.error, 2)}: "
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


def _figures(items: Sequence[Measured]) -> list[Figure]:
    traces = _traces(items)
    return [_eigenvalues(items), *([traces] if traces else [])]


def _eigenvalues(items: Sequence[Measured]) -> Figure:
    found = models(items)
    top = max(len(side.eigenvalues) for _, _, side in found)
    bars = [
        Bars(
            f"eigenvalue {place + 1}",
            {role: _at(side.eigenvalues, place) for role, _, side in found},
            {role: side.errors[place] for role, _, side in found if place < len(side.errors)},
        )
        for place in range(top)
    ]
    smallest = {role: side.smallest for role, _, side in found}
    bars.append(Bars("smallest seen", smallest, {role: side.smallest_error for role, _, side in found}))
    rows = [
        (
            f"eigenvalue {place + 1}",
            *(_with(_at(s.eigenvalues, place), _at(s.errors, place)) for _, _, s in found),
        )
        for place in range(top)
    ]
    rows.append(("smallest seen", *(_with(side.smallest, side.smallest_error) for _, _, side in found)))
    rows.append(("loss", *(number(side.loss, 4) for _, _, side in found)))
    words = ", ".join(f"{name} {number(side.eigenvalues[0])}" for _, name, side in found)
    title = "Eigenvalues of the Hessian"
    return Figure(
        bar_chart(bars, role_names(items), title=title, y_label=_label(found[0][2])),
        alt=f"Bars of eigenvalues of the Hessian. The largest: {words}.",
        caption=f"{title}, each within its error bar of a true one.",
        table=Table(title, ("", *(name for _, name, _ in found)), tuple(rows)),
    )


def _traces(items: Sequence[Measured]) -> Figure | None:
    found = [(role, name, side) for role, name, side in models(items) if side.trace is not None]
    if not found:
        return None
    traces = {role: side.trace for role, _, side in found}
    errors = {role: student(len(trace.values)) * trace.error for role, trace in traces.items()}
    bars = [Bars("trace", {role: trace.mean for role, trace in traces.items()}, errors)]
    names = {role: name for role, name, _ in found}
    words = ", ".join(f"{name} {_with(side.trace.mean, side.trace.error)}" for _, name, side in found)
    rows = tuple(
        (name, number(side.trace.mean), number(side.trace.error, 2), str(len(side.trace.values)))
        for _, name, side in found
    )
    return Figure(
        bar_chart(bars, names, title="Trace of the Hessian", y_label=_label(found[0][2])),
        alt=f"Bars of the trace of the Hessian: {words}.",
        caption="Trace of the Hessian, estimated, with its 95 % interval over random vectors. Models of one seed "
        "share the vectors, so that differences are surer than the bars.",
        table=Table("Trace of the Hessian", ("model", "trace", "standard error", "random vectors"), rows),
    )


def _at(values: Sequence[float], place: int) -> float | None:
    return values[place] if place < len(values) else None


def _with(value: float | None, error: float | None) -> str:
    return number(value) if error is None else f"{number(value)} ± {number(error, 2)}"


def _label(side: Any) -> str:
    return f"curvature, in units of {side.units}"


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    found = models(items)
    first = found[0][2]
    units = {side.units for _, _, side in found}
    loose = [name for _, name, side in found if not side.converged]
    steep = [f"{name} ({number(s.smallest)})" for _, name, s in found if _negative(s)]
    return (
        f"{samples_note(first)} Hessian of the loss of each model as it is, over {count(first.dimension, 'weight')}.",
        "Errors of eigenvalues are those of the computation on these samples; how much other samples would change "
        "them is not known, so that a change of up to 10 % counts as unclear.",
        *(
            ("In units of filters: rescaling a filter before a normalisation changes nothing.",)
            if "filters" in units
            else ()
        ),
        *(
            (
                "In units of weights: weights that grew before a normalisation flatten the Hessian without changing "
                "the model.",
            )
            if "weights" in units
            else ()
        ),
        *((f"Not converged, eigenvalues may be larger: {', '.join(loose)}.",) if loose else ()),
        *(
            (f"Clearly negative curvature, so no minimum of this loss on these samples: {', '.join(steep)}.",)
            if steep
            else ()
        ),
    )


def _negative(side: Any) -> bool:
    return bool(side.smallest + side.smallest_error < -NEGATIVE * abs(side.eigenvalues[0]))


section = Spec(
    name="curvature",
    title="Curvature",
    about="Eigenvalues of the Hessian say how strongly the loss curves in the directions in which it curves most; "
    "their sum, the trace, says how much it curves on the whole. Smaller ones mean a smoother landscape.",
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
    figures=_figures,
    notes=_notes,
)
