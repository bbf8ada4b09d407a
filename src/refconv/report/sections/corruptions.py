"""Accuracy under noise, blur, contrast, brightness and compression."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Finding
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured, models, role_names
from refconv.report.charts import Bars, bar_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.curves import (
    CONSERVATIVE,
    Level,
    accuracy_chart,
    accuracy_table,
    cost_words,
    fall_difference,
    judged,
    level,
)
from refconv.report.sections.losses import samples_note
from refconv.report.sections.spec import Spec


def shared_kinds(items: Sequence[Measured]) -> list[str]:
    """Return the corruptions that all models met, in the order of the records."""
    found = [_curves(record) for _, _, record in models(items)]
    return [kind for kind in found[0] if all(kind in curves for curves in found)]


def _curves(record: Any) -> dict[str, Any]:
    return {curve.kind: curve for curve in record.curves}


def _level(record: Any, kinds: Sequence[str]) -> Level:
    curves = _curves(record)
    hits = [share for kind in kinds for share in curves[kind].accuracy[1:]]
    return level(curves[kinds[0]].accuracy[0], hits, record.samples)


def _of_pair(item: Measured, kinds: Sequence[str]) -> list[Finding]:
    if not kinds:
        return [Finding(item.name, "The models met no corruption in common.", "unclear")]
    pair = _level(item.before, kinds), _level(item.after, kinds)
    text = f"Corruption, on average over kinds and strengths, {cost_words(*pair)}."
    found = [Finding(item.name, text, judged(*pair), fall_difference(*pair).p)]
    if len(kinds) > 1:
        by_kind = {kind: (_level(item.before, [kind]), _level(item.after, [kind])) for kind in kinds}
        most = max(kinds, key=lambda kind: abs(fall_difference(*by_kind[kind]).value or 0.0))
        text = f"The cost changed most for {_name(most)}, which {cost_words(*by_kind[most])}."
        found.append(Finding(item.name, text, judged(*by_kind[most])))
    return found


def _contrast(subject: Measured, reference: Measured, kinds: Sequence[str]) -> Finding:
    if not kinds:
        return Finding(subject.name, f"{subject.name} and {reference.name} met no corruption in common.", "unclear")
    mine, theirs = _level(subject.after, kinds), _level(reference.after, kinds)
    words = cost_words(theirs, mine, (f"with {reference.name}", f"with {subject.name}"))
    text = f"Corruption {words}."
    return Finding(subject.name, text, judged(theirs, mine), fall_difference(theirs, mine).p)


def _figures(items: Sequence[Measured]) -> Sequence[Figure]:
    kinds = shared_kinds(items)
    return (_means(items, kinds), *(_figure(items, kind) for kind in kinds)) if kinds else ()


def _means(items: Sequence[Measured], kinds: Sequence[str]) -> Figure:
    found = [(role, name, record) for role, name, record in models(items)]
    rows = [(_name(kind), [kind]) for kind in kinds] + [("all", list(kinds))] * (len(kinds) > 1)
    levels = {label: {role: _level(record, chosen) for role, _, record in found} for label, chosen in rows}
    clean = {role: _level(record, kinds).clean for role, _, record in found}
    bars = [Bars("none", {role: 100 * share for role, share in clean.items()})]
    bars += [Bars(label, {role: 100 * one.hit for role, one in by_role.items()}) for label, by_role in levels.items()]
    cells = [("none", *(percent(share) for share in clean.values()))]
    cells += [(label, *(percent(one.hit) for one in by_role.values())) for label, by_role in levels.items()]
    words = ", ".join(f"{name} {percent(_level(record, kinds).hit)}" for _, name, record in found)
    title = "Mean accuracy per corruption"
    return Figure(
        bar_chart(bars, role_names(items), title=title, y_label="accuracy, %", y_range=(0, 100)),
        alt=f"Bars of the mean accuracy per corruption. Over all: {words}.",
        caption=f"{title}, over strengths 1 to 5, beside that without one.",
        table=Table(title, ("corruption", *(name for _, name, _ in found)), tuple(cells)),
    )


def _figure(items: Sequence[Measured], kind: str) -> Figure:
    name = _name(kind)
    ends = ", ".join(
        f"{model} {percent(curve.accuracy[0])} to {percent(curve.accuracy[-1])}"
        for model, curve in ((model, _curves(record)[kind]) for _, model, record in models(items))
    )
    title = f"Accuracy under {name}"
    return Figure(
        accuracy_chart(items, lambda record: _curves(record)[kind], title=title, x_label="strength"),
        alt=f"Curves of accuracy against the strength of {name}. From none to the strongest: {ends}.",
        caption=f"{title}, with 95 % intervals.",
        table=accuracy_table(
            items,
            lambda record: _curves(record)[kind],
            caption=title,
            strength="strength",
            show=lambda value: number(value),
        ),
        choice="corruption",
        option=name,
    )


_NAMES = {
    "gaussian_noise": "Gaussian noise",
    "gaussian_blur": "Gaussian blur",
    "contrast": "less contrast",
    "brightness": "more brightness",
    "jpeg_compression": "JPEG compression",
}


def _name(kind: str) -> str:
    return _NAMES.get(kind, kind.replace("_", " "))


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    record = items[0].after
    reasons = {_name(kind): why for _, _, found in models(items) for kind, why in found.left_out.items()}
    return (
        f"{samples_note(record)} Strengths are those of {record.table}; five of its kinds, not its score.",
        "A fall counts only together with the level: a model that is worse throughout falls less deep as well. The "
        "corruption that changed most is picked out of several, which makes it look surer than it is.",
        CONSERVATIVE,
        *(f"Without {kind}: {why}." for kind, why in reasons.items()),
    )


section = Spec(
    name="corruptions",
    title="Common corruptions",
    about="Images are made worse as cameras and files do it, at five strengths: noise, blur, less contrast, more "
    "brightness, compression. The less accuracy falls from that on clean images, the more robust the model.",
    findings=lambda item: _of_pair(item, shared_kinds([item])),
    contrasts=lambda subject, reference: (_contrast(subject, reference, shared_kinds([subject, reference])),),
    figures=_figures,
    notes=_notes,
)
