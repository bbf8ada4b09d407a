"""Accuracy under noise, blur, contrast, brightness and compression."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.numbers import percent
from refconv.measures.pairs import Measured, Role, models, role_names
from refconv.measures.verdicts.corruptions import VERDICT, curves_of, level_of, name_of, shared_kinds
from refconv.measures.verdicts.curves import CONSERVATIVE
from refconv.report.elements import Figure
from refconv.report.sections.figures import accuracies, bar_figure, curve_figure
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec


def _figures(items: Sequence[Measured]) -> Sequence[Figure]:
    kinds = shared_kinds(items)
    return (_means(items, kinds), *(_figure(items, kind) for kind in kinds)) if kinds else ()


def _means(items: Sequence[Measured], kinds: Sequence[str]) -> Figure:
    rows = [(name_of(kind), [kind]) for kind in kinds] + [("all", list(kinds))] * (len(kinds) > 1)
    bars: dict[str, dict[Role, float | None]]
    bars = {"none": {role: level_of(record, kinds).clean for role, _, record in models(items)}}
    bars |= {label: {role: level_of(record, of).hit for role, _, record in models(items)} for label, of in rows}
    words = ", ".join(f"{name} {percent(level_of(record, kinds).hit)}" for _, name, record in models(items))
    title = "Mean accuracy per corruption"
    return bar_figure(
        bars,
        role_names(items),
        title=title,
        y_label="accuracy, %",
        y_range=(0, 100),
        factor=100,
        head="corruption",
        alt=f"Bars of the mean accuracy per corruption. Over all: {words}.",
        caption=f"{title}, over strengths 1 to 5, beside that without one.",
    )


def _figure(items: Sequence[Measured], kind: str) -> Figure:
    name = name_of(kind)
    curves = accuracies(items, lambda record: curves_of(record)[kind])
    ends = ", ".join(f"{curve.name} {percent(curve.y[0])} to {percent(curve.y[-1])}" for curve in curves)
    title = f"Accuracy under {name}"
    return curve_figure(
        curves,
        title=title,
        x_label="strength",
        y_label="accuracy, %",
        y_range=(0, 100),
        head="strength",
        alt=f"Curves of accuracy against the strength of {name}. From none to the strongest: {ends}.",
        caption=f"{title}, with 95 % intervals.",
        choice="corruption",
        option=name,
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    record = items[0].after
    reasons = {name_of(kind): why for _, _, found in models(items) for kind, why in found.left_out.items()}
    return (
        f"{samples_note(record)} Strengths are those of {record.table}; five of its kinds, not its score.",
        "A fall counts only together with the level: a model that is worse throughout falls less deep as well. The "
        "corruption that changed most is picked out of several, which makes it look surer than it is.",
        CONSERVATIVE,
        *(f"Without {kind}: {why}." for kind, why in reasons.items()),
    )


section = Spec(
    VERDICT,
    title="Common corruptions",
    about="Images are made worse as cameras and files do it, at five strengths: noise, blur, less contrast, more "
    "brightness, compression. The less accuracy falls from that on clean images, the more robust the model.",
    figures=_figures,
    notes=_notes,
)
