"""Curvature of the loss: the Hessian's largest eigenvalues and its trace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.judging import student
from refconv.measures.numbers import count, number
from refconv.measures.pairs import Measured, models, role_names
from refconv.measures.verdicts.curvature import VERDICT
from refconv.report.charts import Bars, bar_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec

NEGATIVE = 0.05
"""Share of the largest eigenvalue below minus which the smallest one counts as clearly negative."""


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
        (f"eigenvalue {place + 1}", *(_with(_at(s.eigenvalues, place), _at(s.errors, place)) for _, _, s in found))
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
        ("In units of filters: rescaling a filter before a normalisation changes nothing.")
        if "filters" in units
        else "",
        (
            "In units of weights: weights that grew before a normalisation flatten the Hessian without changing "
            "the model."
        )
        if "weights" in units
        else "",
        (f"Not converged, eigenvalues may be larger: {', '.join(loose)}.") if loose else "",
        (f"Clearly negative curvature, so no minimum of this loss on these samples: {', '.join(steep)}.")
        if steep
        else "",
    )


def _negative(side: Any) -> bool:
    return bool(side.smallest + side.smallest_error < -NEGATIVE * abs(side.eigenvalues[0]))


section = Spec(
    VERDICT,
    title="Curvature",
    about="Eigenvalues of the Hessian say how strongly the loss curves in the directions in which it curves most; "
    "their sum, the trace, says how much it curves on the whole. Smaller ones mean a smoother landscape.",
    figures=_figures,
    notes=_notes,
)
