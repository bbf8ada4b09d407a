"""How well a classifier does: accuracy, loss and calibration."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from refconv.process.distributed import Processes
from refconv.tasks.evaluation import Evaluation

CALIBRATION_BINS = 15
"""Bins of equal width that cut the confidences from 0 to 1; a confidence on a border belongs to the bin below it."""


@dataclass(frozen=True)
class ClassificationEvaluation(Evaluation):
    """How well a classifier does on a split."""

    top1: float  #: share of samples whose class has the largest output; ``top5``: is among the five largest
    top5: float
    loss: float  #: mean cross-entropy
    #: expected calibration error of the first class (Guo et al. 2017, arXiv 1706.04599): over bins of confidence, the
    #: mean distance between confidence and accuracy, weighted by the samples. None where it was not measured
    ece: float | None = None

    def __str__(self) -> str:
        return f"top-1 {self.top1:.2%}  top-5 {self.top5:.2%}  loss {self.loss:.4f}  on {self.samples:,} samples"


def evaluation_of(
    batches: Iterable[tuple[Tensor, Tensor]], device: torch.device, processes: Processes
) -> ClassificationEvaluation:
    """Return the evaluation of outputs [batch, classes] and labels [batch] of this process, on ``device``."""
    totals = torch.zeros(3, dtype=torch.float64, device=None if device.type == "mps" else device)
    gaps = torch.zeros(CALIBRATION_BINS, dtype=torch.float64, device=totals.device)
    samples = 0
    for outputs, labels in batches:
        totals += _scores(outputs.float(), labels).to(totals.device)
        gaps += calibration_gaps(outputs.float(), labels).to(totals.device)
        samples += len(labels)
    top1, top5, loss, count, *sums = processes.sums([*totals.tolist(), float(samples), *gaps.tolist()])
    return ClassificationEvaluation(int(count), top1 / count, top5 / count, loss / count, sum(map(abs, sums)) / count)


def _scores(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the numbers of top-1 and top-5 hits and the sum of the losses, float64 [3]."""
    hits = outputs.topk(min(5, outputs.shape[1]), dim=1).indices == labels[:, None]
    loss = F.cross_entropy(outputs, labels, reduction="sum")
    return torch.stack([hits[:, 0].sum().double(), hits.sum().double(), loss.double()])


def calibration_gaps(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return, per bin of confidence, the sum over its samples of hit minus confidence, float64 [bins]."""
    confidences, classes = outputs.softmax(dim=1).max(dim=1)
    bins = (confidences * CALIBRATION_BINS).ceil().long().clamp(1, CALIBRATION_BINS) - 1
    gaps = (classes == labels).double() - confidences.double()
    return torch.zeros(CALIBRATION_BINS, dtype=torch.float64, device=outputs.device).index_add_(0, bins, gaps)
