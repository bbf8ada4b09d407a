"""Accuracy under adversarial attacks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.numbers import number
from refconv.measures.pairs import Measured
from refconv.measures.support import JOURNAL, claim
from refconv.measures.verdicts.curves import Level, cost_words, fall_difference, judged, level
from refconv.measures.verdicts.verdict import Verdict

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


def radius_of(items: Sequence[Measured]) -> float:
    """Return the radius that all sentences are about: telling for the start."""
    return telling_radius(items[0].before)


def at(record: Any, kind: str, radius: float) -> Level:
    """Return the accuracies of a model without an attack and under one of about this radius."""
    curve = curve_of(record, kind)
    values = dict(zip(curve.strengths, curve.accuracy, strict=True))
    nearest = min((strength for strength in values if strength), key=lambda strength: abs(strength - radius))
    return level(curve.accuracy[0], [values[nearest]], record.samples)


def _levels(first: Any, second: Any, kind: str, radius: float) -> tuple[Level, Level]:
    return at(first, kind, radius), at(second, kind, radius)


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


VERDICT = Verdict(
    "attacks",
    findings=lambda item: (_under(item, kind) for kind in NAMES),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    claim=lambda items: claim(
        "Refocusing makes a model more robust to adversarial attacks.",
        JOURNAL,
        items,
        lambda item: judged(*_levels(item.before, item.after, "pgd", radius_of(items))),
        _WORDS,
        lambda item, plain: judged(*_levels(plain.after, item.after, "pgd", radius_of(items))),
    ),
)
