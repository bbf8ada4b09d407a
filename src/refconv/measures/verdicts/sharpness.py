"""How sharply the loss rises around the models, averaged over random directions."""

from __future__ import annotations

import math
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import Difference, paired, student
from refconv.measures.numbers import count, number, percent, signed
from refconv.measures.pairs import Measured
from refconv.measures.support import REFCONV, claim
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import SURENESS, compared, course

_WORDS: dict[Change, str] = {
    "better": "The loss rises less around the later model",
    "worse": "The loss rises more around the later model",
    "same": "The loss rises alike around both models",
    "unclear": "How much the loss rises does not differ by more than chance",
}


def _difference(item: Measured) -> Difference:
    found = item.record.difference
    return Difference(found.mean, found.error, student(len(found.values)))


def _between(subject: Measured, reference: Measured) -> Difference:
    """Return how one pair's result differs from another's, by direction where both walked along the same ones."""
    mine, theirs = subject.after.rise, reference.after.rise
    if _walks(subject) == _walks(reference):
        return paired(theirs.values, mine.values)
    fewest = min(len(mine.values), len(theirs.values))
    same_radius = subject.record.radius == reference.record.radius
    value = mine.mean - theirs.mean if same_radius else None
    return Difference(value, math.hypot(mine.error, theirs.error), student(fewest))


def _walks(item: Measured) -> tuple[Any, ...]:
    return item.record.seed, item.record.radius, len(item.after.rise.values)


def _rise(item: Measured) -> Finding:
    found = _difference(item)
    change = found.judged(lower=True)
    text = (
        f"With every filter moved by {percent(item.record.radius, 0)} of its norm the loss rises by "
        f"{number(item.before.rise.mean)} before and by {number(item.after.rise.mean)} after (difference "
        f"{signed(found.value)} ± {number(found.error, 2)} over "
        f"{count(len(item.record.difference.values), 'direction')}: {SURENESS[change]})."
    )
    return Finding(item.name, text, change, found.p)


def _loss(item: Measured) -> Finding:
    losses = item.before.as_is, item.after.as_is
    shown = [number(loss, 4) for loss in losses]
    text = f"The loss itself {course(lambda loss: number(loss, 4), *losses)} on these samples."
    return Finding(item.name, text, "same" if shown[0] == shown[1] else "different")


def _contrast(subject: Measured, reference: Measured) -> Finding:
    found = _between(subject, reference)
    if found.value is None:
        text = f"{subject.name} and {reference.name} were moved by different distances and cannot be compared."
        return Finding(subject.name, text, "unclear")
    change = found.judged(lower=True)
    means = [item.after.rise.mean for item in (subject, reference)]
    text = (
        f"Around {subject.name} the mean rise is {compared(number, reference.name, *means)} (difference "
        f"{signed(found.value)} ± {number(found.error, 2)}: {SURENESS[change]})."
    )
    return Finding(subject.name, text, change, found.p)


VERDICT = Verdict(
    "sharpness",
    findings=lambda item: (_rise(item), _loss(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    claim=lambda items: claim(
        "After refocusing the loss landscape is smoother: the loss rises less around the model.",
        REFCONV,
        items,
        lambda item: _difference(item).judged(lower=True),
        _WORDS,
        lambda item, plain: _between(item, plain).judged(lower=True),
    ),
)
