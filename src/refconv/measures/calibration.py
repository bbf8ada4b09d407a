"""Calibration: whether a classifier is right as often as it says it is; the record and its verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from refconv.measures.judging import SURENESS, Difference, share_error
from refconv.measures.numbers import compared, course, fine_number, fine_percent, percent, points
from refconv.measures.pairs import Measured
from refconv.measures.tables import Sampled, counted, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class ReliabilityBin(Record):
    """Samples whose confidence lies in one bin, above ``low`` (the first bin includes it) up to ``high``.

    Attributes:
        low: lower bound.
        high: upper bound.
        samples: how many there are.
        confidence: their mean confidence; None without samples.
        accuracy: share classified rightly; None without samples.
    """

    low: float
    high: float
    samples: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True)
class Calibration(Sampled):
    """How far a classifier's confidence can be trusted.

    Attributes:
        bins: the reliability diagram, by rising confidence.
        ece: expected calibration error, 0 to 1.
        mce: largest gap of a bin with samples, 0 to 1.
        nll: mean negative log-likelihood in nats, 0 or more.
        brier: mean Brier score, 0 to 2.
        accuracy: share classified rightly.
        confidence: mean confidence; above the accuracy in an overconfident model.
    """

    bins: tuple[ReliabilityBin, ...]
    ece: float
    mce: float
    nll: float
    brier: float
    accuracy: float
    confidence: float

    def __str__(self) -> str:
        columns = {
            "confidence": lambda row: f"{row.low:.3g} to {row.high:.3g}",
            "samples": "samples",
            "mean confidence": "confidence",
            "accuracy": "accuracy",
        }
        return (
            f"{table_of(filled(self), columns)}\n"
            f"ECE {self.ece:.2%}  MCE {self.mce:.2%}  NLL {self.nll:.4f}  Brier {self.brier:.4f}  "
            f"accuracy {self.accuracy:.2%} at confidence {self.confidence:.2%}  on {counted(self)}"
        )


def filled(record: Any) -> list[Any]:
    """Return the bins that have samples."""
    return [row for row in record.bins if row.samples]


def ece_error(record: Any) -> float:
    """Return the standard error of the ECE: bins count as independent, confidences as given.

    A bin of which all samples are right has an error, too.
    """
    errors = (row.samples * share_error(row.accuracy, row.samples) for row in filled(record))
    return math.hypot(*errors) / float(record.samples)


def _difference(first: Any, second: Any) -> Difference:
    return Difference(second.ece - first.ece, math.hypot(ece_error(first), ece_error(second)))


def _findings(item: Measured) -> Iterator[Said]:
    before, after = item.sides
    found = _difference(before, after)
    change = found.judged(lower=True)
    text = (
        f"The expected calibration error {course(fine_percent, before.ece, after.ece)} ({points(found.value)} points, "
        f"standard error {percent(found.error, 2).removesuffix(' %')}: {SURENESS[change]})."
    )
    yield text, change, found.p
    same = (before.nll, before.brier) == (after.nll, after.brier)
    doubt = "" if same else "; how much of that is chance the record does not tell"
    nll, brier = (course(fine_number, getattr(before, key), getattr(after, key)) for key in ("nll", "brier"))
    text = f"The negative log-likelihood {nll} nats, the Brier score {brier}, both better the lower{doubt}."
    yield text, "same" if same else "unclear"
    gaps = [side.confidence - side.accuracy for side in (before, after)]
    text = f"On average the model before {_sure(gaps[0])}, the one after {_sure(gaps[1])}."
    yield text, "same" if gaps[0] == gaps[1] else "different"


def _sure(gap: float) -> str:
    size = points(abs(gap)).lstrip("+")
    if size == points(0).lstrip("+"):
        return "is neither over- nor underconfident"
    return f"is {size} points {'over' if gap > 0 else 'under'}confident"


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    found = _difference(reference.after, subject.after)
    change = found.judged(lower=True)
    words = compared(fine_percent, reference.name, subject.after.ece, reference.after.ece)
    yield f"{subject.name} ends at an ECE of {words} ({SURENESS[change]}).", change, found.p


CALIBRATION = Verdict("calibration", _findings, _contrasts)
