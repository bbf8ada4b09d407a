"""A model's loss at other weights than its own, without touching the model.

The records; what they are computed from is in ``analysis/probe.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.records import Record


@dataclass(frozen=True)
class Conditions(Record):
    """What a loss was measured on.

    Attributes:
        samples: over how many samples.
        cut: whether there were more that ``max_samples`` left out.
        calibration_samples: how many samples batch-norm statistics were collected on, at weights that are no model's.
        calibration_cut: whether there were more.
        norms: how many batch-norm layers were recalibrated.
    """

    samples: int
    cut: bool
    calibration_samples: int
    calibration_cut: bool
    norms: int

    def __str__(self) -> str:
        text = f"loss over {self.samples:,} samples{' of more' if self.cut else ''}"
        if not self.norms:
            return f"{text}; no batch norm to recalibrate"
        more = " of more" if self.calibration_cut else ""
        return f"{text}; {self.norms} batch norms recalibrated on {self.calibration_samples:,} samples{more}"
