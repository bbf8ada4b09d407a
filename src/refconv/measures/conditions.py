"""What a loss was measured on."""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import Sampled, counted


@dataclass(frozen=True)
class Conditions(Sampled):
    """What a loss was measured on.

    Attributes:
        calibration_samples: how many samples batch-norm statistics were collected on, at weights that are no model's.
        calibration_cut: whether there were more.
        norms: how many batch-norm layers were recalibrated.
    """

    calibration_samples: int
    calibration_cut: bool
    norms: int

    def __str__(self) -> str:
        text = f"loss over {counted(self)}"
        if not self.norms:
            return f"{text}; no batch norm to recalibrate"
        more = " of more" if self.calibration_cut else ""
        return f"{text}; {self.norms} batch norms recalibrated on {self.calibration_samples:,} samples{more}"
