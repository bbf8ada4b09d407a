"""Accuracy under noise, blur, contrast, brightness and compression."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured, models, role_names
from refconv.measures.verdicts.corruptions import VERDICT, curves_of, level_of, name_of, shared_kinds
from refconv.measures.verdicts.curves import CONSERVATIVE
from refconv.report.charts import Bars, bar_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.curves import accuracy_chart, accuracy_table
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec


def _figures(items: Sequence[Measured]) -> Sequence[Figure]:
    kinds = shared_kinds(items)
    return (_means(items, kinds), *(_figure(items, kind) for kind in kinds)) if kinds else ()


def _means(items: Sequence[Measured], kinds: Sequence[str]) -> Figure:
    found = [(role, name, record) for role, name, record in models(items)]
    rows = [(name_of(kind), [kind]) for kind in kinds] + [("all", list(kinds))] * (len(kinds) > 1)
    levels = {label: {role: level_of(record, chosen) for role, _, record in found} for label, chosen in rows}
    clean = {role: level_of(record, kinds).clean for role, _, record in found}
    bars = [Bars("none", {role: 100 * share for role, share in clean.items()})]
    bars += [Bars(label, {role: 100 * one.hit for role, one in by_role.items()}) for label, by_role in levels.items()]
    cells = [("none", *(percent(share) for share in clean.values()))]
    cells += [(label, *(percent(one.hit) for one in by_role.values())) for label, by_role in levels.items()]
    words = ", ".join(f"{name} {percent(level_of(record, kinds).hit)}" for _, name, record in found)
    title = "Mean accuracy per corruption"
    return Figure(
        bar_chart(bars, role_names(items), title=title, y_label="accuracy, %", y_range=(0, 100)),
        alt=f"Bars of the mean accuracy per corruption. Over all: {words}.",
        caption=f"{title}, over strengths 1 to 5, beside that without one.",
        table=Table(title, ("corruption", *(name for _, name, _ in found)), tuple(cells)),
    )


def _figure(items: Sequence[Measured], kind: str) -> Figure:
    name = name_of(kind)
    ends = ", ".join(
        f"{model} {percent(curve.accuracy[0])} to {percent(curve.accuracy[-1])}"
        for model, curve in ((model, curves_of(record)[kind]) for _, model, record in models(items))
    )
    title = f"Accuracy under {name}"
    return Figure(
        accuracy_chart(items, lambda record: curves_of(record)[kind], title=title, x_label="strength"),
        alt=f"Curves of accuracy against the strength of {name}. From none to the strongest: {ends}.",
        caption=f"{title}, with 95 % intervals.",
        table=accuracy_table(
            items,
            lambda record: curves_of(record)[kind],
            caption=title,
            strength="strength",
            show=lambda value: number(value),
        ),
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
