"""Measures of labels that are there or not, by scikit-learn: average precision, area under the ROC curve, F1.

Unknown labels, NaN, count nowhere. A label without a value, as where no sample or every sample has it, is left out of
means over labels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import Tensor

from refconv.tasks.losses import bce

Numbers = NDArray[Any]
THRESHOLD = 0.5  #: The least probability of a label that counts as there


def label_scores(outputs: Tensor, targets: Tensor) -> dict[str, list[float | None]]:
    """Return ``ap``, ``auc`` and ``f1`` of each label, None where they have no value; logits and labels [n, labels]."""
    logits, truth = outputs.double().numpy(), targets.double().numpy()
    found: dict[str, list[float | None]] = {"ap": [], "auc": [], "f1": []}
    for scores, labels in zip(logits.T, truth.T, strict=True):
        counted = ~np.isnan(labels)
        scores, labels = scores[counted], labels[counted] > 0
        both = labels.any() and not labels.all()
        found["ap"].append(float(average_precision_score(labels, scores)) if labels.any() else None)
        found["auc"].append(float(roc_auc_score(labels, scores)) if both else None)
        found["f1"].append(f1(*_counts(scores, labels)))
    return found


def overall_f1(outputs: Tensor, targets: Tensor) -> float | None:
    """Return F1 over all labels of all samples together."""
    logits, truth = outputs.double().numpy().ravel(), targets.double().numpy().ravel()
    counted = ~np.isnan(truth)
    return f1(*_counts(logits[counted], truth[counted] > 0))


def accuracy(outputs: Tensor, targets: Tensor) -> float:
    """Return the share of known labels on whose side of the threshold the outputs lie."""
    counted = ~targets.isnan()
    return float(((outputs > 0) == (targets > 0.5))[counted].double().mean())


def f1(hits: int, wrong: int, missed: int) -> float | None:
    """Return F1 of a label's counts; None where it is neither there nor predicted."""
    return 2 * hits / (2 * hits + wrong + missed) if hits + wrong + missed else None


def mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that there are."""
    there = [value for value in values if value is not None]
    return math.fsum(there) / len(there) if there else None


def cross_entropy(outputs: Tensor, targets: Tensor) -> float:
    """Return the mean binary cross-entropy over the known labels."""
    return float(bce()(outputs.double(), targets.double()))


def _counts(scores: Numbers, labels: Numbers) -> tuple[int, int, int]:
    """Return how many labels are there and predicted, predicted only, and there only."""
    predicted = scores > 0  # the logit of the threshold
    return int((predicted & labels).sum()), int((predicted & ~labels).sum()), int((~predicted & labels).sum())
