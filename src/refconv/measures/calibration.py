"""Calibration: whether a classifier is right as often as it says it is.

The records; what they are computed from is in ``analysis/calibration.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import number, text_table
from refconv.records import Record


@dataclass(frozen=True)
class ReliabilityBin(Record):
    """Samples whose confidence lies in one bin.

    Attributes:
        low: lower bound, outside the bin (inside for the first).
        high: upper bound, inside.
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
class Calibration(Record):
    """How far a classifier's confidence can be trusted.

    Attributes:
        samples: how many were classified.
        cut: whether there were more that ``max_samples`` left out.
        bins: the reliability diagram, by rising confidence.
        ece: expected calibration error, 0 to 1.
        mce: largest gap of a bin with samples, 0 to 1.
        nll: mean negative log-likelihood in nats, 0 or more.
        brier: mean Brier score, 0 to 2.
        accuracy: share classified rightly.
        confidence: mean confidence; above the accuracy in an overconfident model.
    """

    samples: int
    cut: bool
    bins: tuple[ReliabilityBin, ...]
    ece: float
    mce: float
    nll: float
    brier: float
    accuracy: float
    confidence: float

    def __str__(self) -> str:
        rows = [
            (f"{row.low:.3g} to {row.high:.3g}", f"{row.samples:,}", number(row.confidence), number(row.accuracy))
            for row in self.bins
            if row.samples
        ]
        table = text_table(("confidence", "samples", "mean confidence", "accuracy"), rows)
        more = " of more" if self.cut else ""
        return (
            f"{table}\nECE {self.ece:.2%}  MCE {self.mce:.2%}  NLL {self.nll:.4f}  Brier {self.brier:.4f}  "
            f"accuracy {self.accuracy:.2%} at confidence {self.confidence:.2%}  on {self.samples:,} samples{more}"
        )
