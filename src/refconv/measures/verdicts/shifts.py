"""How often a class survives when the image moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import Difference, agreed, share_error
from refconv.measures.numbers import count, percent, points
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import SURENESS, compared, course


def consistency(first: Any, second: Any) -> tuple[int, Difference]:
    """Return the largest distance that both records have, and how consistency differs there.

    The four shifts of an image count as one sample, which is on the safe side.
    """
    pixels = max(set(first.pixels) & set(second.pixels))
    return pixels, _difference((first, second), [_at(record, "same", pixels) for record in (first, second)])


def _at(record: Any, key: str, pixels: int) -> float:
    return float(getattr(record, key)[record.pixels.index(pixels)])


def _difference(records: Sequence[Any], shares: Sequence[float]) -> Difference:
    errors = (share_error(share, record.samples) for share, record in zip(shares, records, strict=True))
    return Difference(shares[1] - shares[0], math.hypot(*errors))


def judged(first: Any, second: Any) -> Change:
    """Return whether the second model is more consistent; if it is less accurate, that is only different."""
    change = consistency(first, second)[1].judged()
    accuracy = _difference((first, second), [record.clean_accuracy for record in (first, second)])
    return "different" if change == "better" and accuracy.judged() == "worse" else change


def _keeps(item: Measured) -> Finding:
    pixels, found = consistency(item.before, item.after)
    shares = [_at(side, "same", pixels) for side in (item.before, item.after)]
    text = (
        f"The share of shifts by {count(pixels, 'pixel')} that keep the class {course(percent, *shares)} "
        f"({points(found.value)} points, standard error {points(found.error).lstrip('+')}: {SURENESS[found.judged()]})."
    )
    return Finding(item.name, text, judged(item.before, item.after), found.p)


def _accuracy(item: Measured) -> Finding:
    sides = (item.before, item.after)
    pixels, _ = consistency(*sides)
    still, moved = [side.clean_accuracy for side in sides], [_at(side, "accuracy", pixels) for side in sides]
    text = (
        f"Accuracy on images in place {course(percent, *still)}, on images shifted by {count(pixels, 'pixel')} it "
        f"{course(percent, *moved)}."
    )
    return Finding(item.name, text, agreed([_difference(sides, shares).judged() for shares in (still, moved)]))


def _contrast(subject: Measured, reference: Measured) -> Finding:
    pixels, found = consistency(reference.after, subject.after)
    shares = [_at(item.after, "same", pixels) for item in (subject, reference)]
    text = (
        f"With {subject.name} the share of shifts by {count(pixels, 'pixel')} that keep the class is "
        f"{compared(percent, reference.name, *shares)} ({SURENESS[found.judged()]})."
    )
    return Finding(subject.name, text, judged(reference.after, subject.after), found.p)


VERDICT = Verdict(
    "shifts",
    findings=lambda item: (_keeps(item), _accuracy(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
)
