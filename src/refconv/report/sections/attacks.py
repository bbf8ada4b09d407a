"""Accuracy under adversarial attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import SURE, share_error
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured, models
from refconv.measures.support import JOURNAL, claim
from refconv.report.elements import Figure
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

LEVELS = 255
"""Steps of a pixel, in which radii are given."""

NAMES = {"pgd": "PGD", "fgsm": "FGSM"}
"""Attacks, the stronger first."""

_WORDS: dict[Change, str] = {
    "better": "Under PGD accuracy falls less after than before",
    "worse": "Under PGD accuracy falls more after than before",
    "same": "Under PGD accuracy falls as much after as before",
    "unclear": "Under PGD the later model is neither clearly more robust nor clearly less",
}


def curve_of(record: Any, kind: str) -> Any:
    """Return one curve of a model's record."""
    found: Any = next(curve for curve in record.curves if curve.kind == kind)
    return found


def telling_radius(record: Any) -> float:
    """Return the radius at which PGD leaves a model nearest to half of its accuracy.

    There it is neither at its accuracy without an attack nor at zero, so that models can be told apart.
    """
    curve = curve_of(record, "pgd")
    half = curve.accuracy[0] / 2
    rows = list(zip(curve.strengths, curve.accuracy, strict=True))[1:]
    radius, _ = min(rows, key=lambda row: (abs(row[1] - half), row[0] if row[1] < half else -row[0]))
    return float(radius)


def _radius(items: Sequence[Measured]) -> float:
    """Return the radius that all sentences are about: telling for the start."""
    return telling_radius(items[0].before)


def _at(record: Any, kind: str, radius: float) -> Level:
    curve = curve_of(record, kind)
    values = dict(zip(curve.strengths, curve.accuracy, strict=True))
    nearest = min((strength for strength in values if strength), key=lambda strength: abs(strength - radius))
    return level(curve.accuracy[0], [values[nearest]], record.samples)


def _levels(first: Any, second: Any, kind: str, radius: float) -> tuple[Level, Level]:
    return _at(first, kind, radius), _at(second, kind, radius)


def _under(item: Measured, kind: str) -> Finding:
    radius = telling_radius(item.before)
    pair = _levels(item.before, item.after, kind, radius)
    text = f"{NAMES[kind]} at {number(LEVELS * radius)} / 255 {cost_words(*pair)}."
    return Finding(item.name, text, judged(*pair), fall_difference(*pair).p)


def _contrast(subject: Measured, reference: Measured) -> Finding:
    radius = telling_radius(reference.before)
    theirs, mine = _levels(reference.after, subject.after, "pgd", radius)
    words = cost_words(theirs, mine, (f"with {reference.name}", f"with {subject.name}"))
    text = f"PGD at {number(LEVELS * radius)} / 255 {words}."
    return Finding(subject.name, text, judged(theirs, mine), fall_difference(theirs, mine).p)


def _figure(items: Sequence[Measured], kind: str) -> Figure:
    title = f"Accuracy under {NAMES[kind]}"
    radius = _radius(items)
    words = ", ".join(
        f"{name} {percent(found.clean)} to {percent(found.hit)}"
        for name, found in ((name, _at(record, kind, radius)) for _, name, record in models(items))
    )
    return Figure(
        accuracy_chart(
            items, lambda record: curve_of(record, kind), title=title, x_label="radius, in 1 / 255", scale=LEVELS
        ),
        alt=f"Curves of accuracy against the radius of the attack. From no attack to {number(LEVELS * radius)} / 255: "
        f"{words}.",
        caption=f"{title}, with 95 % intervals; radii as steps of a pixel from 0 to 255.",
        table=accuracy_table(
            items,
            lambda record: curve_of(record, kind),
            caption=title,
            strength="radius",
            show=lambda strength: f"{number(LEVELS * strength)} / 255",
        ),
    )


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    hiding = [name for _, name, record in models(items) if _hides(record)]
    return (
        f"{samples_note(items[0].after)} PGD takes {items[0].after.steps} steps from a random point of the ball.",
        "Sentences speak of the radius at which PGD leaves the start nearest to half of its accuracy. A fall counts "
        "only together with the level: a model that is worse throughout falls less deep as well.",
        "PGD bounds accuracy under attack from above; a better attack may find more.",
        CONSERVATIVE,
        *((f"FGSM finds more than PGD, which is a sign of hidden gradients: {', '.join(hiding)}.",) if hiding else ()),
    )


def _hides(record: Any) -> bool:
    curves = [curve_of(record, kind).accuracy for kind in ("fgsm", "pgd")]
    return any(two - one > SURE * 2**0.5 * share_error(two, record.samples) for one, two in zip(*curves, strict=True))


section = Spec(
    name="attacks",
    title="Adversarial attacks",
    about="Images are changed by at most a radius per pixel so that the model's loss grows: FGSM takes one step, "
    "PGD several and is the stronger attack. The less accuracy falls from that on unchanged images, the more "
    "robust the model.",
    findings=lambda item: (_under(item, kind) for kind in NAMES),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    claim=lambda items: claim(
        "Refocusing makes a model more robust to adversarial attacks.",
        JOURNAL,
        items,
        lambda item: judged(*_levels(item.before, item.after, "pgd", _radius(items))),
        _WORDS,
        lambda item, plain: judged(*_levels(plain.after, item.after, "pgd", _radius(items))),
    ),
    figures=lambda items: (_figure(items, kind) for kind in NAMES),
    notes=_notes,
)
