"""How well a model tells which labels a sample has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from refconv.tasks import label_measures
from refconv.tasks.evaluation import Evaluation


@dataclass(frozen=True)
class MultilabelEvaluation(Evaluation):
    """How well a model tells which labels a sample has; None where no label has a value."""

    label_map: float | None  #: mean over labels of the average precision
    f1_macro: float | None  #: mean over labels of F1, a label counting from a probability of 0.5 on
    f1_micro: float | None  #: F1 over all labels together
    label_auc: float | None  #: mean over labels of the area under the ROC curve
    loss: float  #: mean binary cross-entropy, whatever the loss of the training
    label_ap: dict[str, float | None] = field(default_factory=dict)  #: average precision of each label
    label_f1: dict[str, float | None] = field(default_factory=dict)  #: F1 of each label
    by_class: ClassVar[str] = "label_ap"

    def __str__(self) -> str:
        shown = {"mAP": self.label_map, "F1 by label": self.f1_macro, "overall": self.f1_micro, "AUC": self.label_auc}
        words = "  ".join(f"{name} {'-' if value is None else f'{value:.2%}'}" for name, value in shown.items())
        return f"{words}  loss {self.loss:.4f}  on {self.samples:,} samples"


def evaluation_of(outputs: Tensor, targets: Tensor, names: Sequence[str]) -> MultilabelEvaluation:
    """Return the evaluation of logits and labels [n, labels]."""
    scores = label_measures.label_scores(outputs, targets)
    return MultilabelEvaluation(
        len(outputs),
        label_measures.mean(scores["ap"]),
        label_measures.mean(scores["f1"]),
        label_measures.overall_f1(outputs, targets),
        label_measures.mean(scores["auc"]),
        label_measures.cross_entropy(outputs, targets),
        dict(zip(names, scores["ap"], strict=True)),
        dict(zip(names, scores["f1"], strict=True)),
    )
