"""How near predicted values come to the true ones, in their own units; of several outputs, the mean over outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from refconv.tasks.evaluation import Evaluation


@dataclass(frozen=True)
class RegressionEvaluation(Evaluation):
    """How near predicted values come to the true ones, in the units of the data; means over outputs."""

    mae: float | None  #: mean absolute error; None where no value is known
    rmse: float | None  #: root of the mean squared error
    #: coefficient of determination, 1 - squared errors / squared differences from the mean; None where all values are
    #: equal
    r2: float | None
    loss: float | None  #: mean squared error of the values as they were scaled for training
    output_mae: dict[str, float | None] = field(default_factory=dict)  #: mean absolute error of each output
    output_r2: dict[str, float | None] = field(default_factory=dict)
    by_class: ClassVar[str] = "output_mae"

    def __str__(self) -> str:
        shown = {"MAE": self.mae, "RMSE": self.rmse, "R2": self.r2, "loss": self.loss}
        words = "  ".join(f"{name} {'-' if value is None else f'{value:.4g}'}" for name, value in shown.items())
        return f"{words}  on {self.samples:,} samples"


def evaluation_of(outputs: Tensor, targets: Tensor, names: Sequence[str], std: Tensor) -> RegressionEvaluation:
    """Return the evaluation of values [n, outputs] in their own units; ``std`` is what they were divided by."""
    rows = [_scores(*pair) for pair in zip(outputs.double().T, targets.double().T, std.tolist(), strict=True)]
    maes, rmses, r2s, losses = ([row[place] for row in rows] for place in range(4))
    by_output = dict(zip(names, maes, strict=True)), dict(zip(names, r2s, strict=True))
    return RegressionEvaluation(len(outputs), _mean(maes), _mean(rmses), _mean(r2s), _mean(losses), *by_output)


def _scores(found: Tensor, truth: Tensor, scale: float) -> tuple[float | None, ...]:
    """Return MAE, RMSE, R2 and the scaled loss of one output over the values that are known."""
    counted = ~truth.isnan()
    error, truth = (found - truth)[counted], truth[counted]
    if not len(truth):
        return None, None, None, None
    squared = float(error.square().mean())
    spread = float((truth - truth.mean()).square().mean())
    return float(error.abs().mean()), math.sqrt(squared), 1 - squared / spread if spread else None, squared / scale**2


def _mean(values: Sequence[float | None]) -> float | None:
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None
