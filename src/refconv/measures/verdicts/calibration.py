"""Whether models are right as often as they say they are."""

from __future__ import annotations

import math
from typing import Any

from refconv.measures.findings import Change, Finding
from refconv.measures.judging import Difference, share_error
from refconv.measures.numbers import number, percent, points
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import SURENESS, compared, course


def ece_error(record: Any) -> float:
    """Return the standard error of the ECE: bins count as independent, confidences as given.

    A bin of which all samples are right has an error, too.
    """
    rows = [row for row in record.bins if row.samples]
    errors = (row.samples * share_error(row.accuracy, row.samples) for row in rows)
    return math.hypot(*errors) / float(record.samples)


def _difference(first: Any, second: Any) -> Difference:
    return Difference(second.ece - first.ece, math.hypot(ece_error(first), ece_error(second)))


def _error(item: Measured) -> Finding:
    found = _difference(item.before, item.after)
    change = found.judged(lower=True)
    text = (
        f"The expected calibration error {course(_share, item.before.ece, item.after.ece)} "
        f"({points(found.value)} points, standard error {percent(found.error, 2).removesuffix(' %')}: "
        f"{SURENESS[change]})."
    )
    return Finding(item.name, text, change, found.p)


def _scores(item: Measured) -> Finding:
    nll = course(_score, item.before.nll, item.after.nll)
    brier = course(_score, item.before.brier, item.after.brier)
    change: Change = (
        "same" if all(getattr(item.before, key) == getattr(item.after, key) for key in ("nll", "brier")) else "unclear"
    )
    doubt = "" if change == "same" else "; how much of that is chance the record does not tell"
    text = f"The negative log-likelihood {nll} nats, the Brier score {brier}, both better the lower{doubt}."
    return Finding(item.name, text, change)


def _confidence(item: Measured) -> Finding:
    gaps = [side.confidence - side.accuracy for side in (item.before, item.after)]
    text = f"On average the model before {_sure(gaps[0])}, the one after {_sure(gaps[1])}."
    return Finding(item.name, text, "same" if gaps[0] == gaps[1] else "different")


def _sure(gap: float) -> str:
    size = points(abs(gap)).lstrip("+")
    if size == points(0).lstrip("+"):
        return "is neither over- nor underconfident"
    return f"is {size} points {'over' if gap > 0 else 'under'}confident"


def _contrast(subject: Measured, reference: Measured) -> Finding:
    found = _difference(reference.after, subject.after)
    change = found.judged(lower=True)
    words = compared(_share, reference.name, subject.after.ece, reference.after.ece)
    return Finding(subject.name, f"{subject.name} ends at an ECE of {words} ({SURENESS[change]}).", change, found.p)


def _share(share: float | None) -> str:
    return percent(share, 2)


def _score(value: float | None) -> str:
    return number(value, 4)


VERDICT = Verdict(
    "calibration",
    findings=lambda item: (_error(item), _scores(item), _confidence(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
)
