"""How well one logit tells a class from the others."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from refconv.tasks import label_measures
from refconv.tasks.evaluation import Evaluation


@dataclass(frozen=True)
class BinaryEvaluation(Evaluation):
    """How well one logit tells a class from the others; None where the split has one class only."""

    auc: float | None  #: area under the ROC curve
    average_precision: float | None  #: of the positive class
    accuracy: float  #: share of the samples on whose side of a probability of 0.5 the output lies
    f1: float | None  #: of the positive class, which counts from a probability of 0.5 on
    loss: float  #: mean binary cross-entropy, whatever the loss of the training

    def __str__(self) -> str:
        shown = {"AUC": self.auc, "average precision": self.average_precision, "accuracy": self.accuracy, "F1": self.f1}
        words = "  ".join(f"{name} {'-' if value is None else f'{value:.2%}'}" for name, value in shown.items())
        return f"{words}  loss {self.loss:.4f}  on {self.samples:,} samples"


def evaluation_of(outputs: Tensor, targets: Tensor) -> BinaryEvaluation:
    """Return the evaluation of logits and labels [n, 1]."""
    scores = {name: found[0] for name, found in label_measures.label_scores(outputs, targets).items()}
    accuracy, loss = label_measures.accuracy(outputs, targets), label_measures.cross_entropy(outputs, targets)
    return BinaryEvaluation(len(outputs), scores["auc"], scores["ap"], accuracy, scores["f1"], loss)
