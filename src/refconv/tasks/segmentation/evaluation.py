"""How well a segmenter does: overlap and accuracy of classes, which follow from a confusion matrix, and loss."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from refconv.tasks.evaluation import Evaluation


@dataclass(frozen=True)
class SegmentationEvaluation(Evaluation):
    """How well a segmenter does on a split: all pixels but the ignored ones, at the size that the model sees."""

    miou: float  #: mean of the values in ``class_iou``, which are those of :class:`Overlap`
    pixel_accuracy: float  #: share of pixels whose class has the largest output
    mean_accuracy: float  #: the same share among the pixels of one class, as a mean over the classes in the truth
    loss: float  #: mean cross-entropy of a pixel
    baseline_miou: float  #: ``miou`` of giving every pixel to the most frequent class
    class_iou: dict[str, float | None]
    by_class: ClassVar[str] = "class_iou"

    def __str__(self) -> str:
        known = sum(value is not None for value in self.class_iou.values())
        among = "" if known == len(self.class_iou) else f" ({known} of {len(self.class_iou)} classes)"
        return (
            f"mean IoU {self.miou:.2%}{among}  pixel accuracy {self.pixel_accuracy:.2%}  "
            f"mean accuracy {self.mean_accuracy:.2%}  loss {self.loss:.4f}  on {self.samples:,} images"
        )


def confusion_matrix(predicted: Tensor, truth: Tensor, *, classes: int, ignored: int) -> Tensor:
    """Count pixels by their class and the class they were given: int64 [classes, classes + 1], rows by truth.

    Predictions from ``classes`` on are classes that the model has and the data has not; they share the last column.

    Example:
        >>> confusion_matrix(torch.tensor([0, 1, 1, 7]), torch.tensor([0, 0, 1, 1]), classes=2, ignored=255)
        tensor([[1, 1, 0],
                [0, 1, 1]])
    """
    counted = truth != ignored
    rows, columns = truth[counted], predicted[counted].clamp(max=classes)
    return torch.bincount(rows * (classes + 1) + columns, minlength=classes * (classes + 1)).view(classes, classes + 1)


@dataclass(frozen=True)
class Overlap:
    """Overlap and accuracy from a confusion matrix; None where undefined."""

    #: per class, the pixels that are of it and were given to it, over those that are or were (the Jaccard index); None
    #: for a class that is neither in the truth nor in the predictions, and for the ignored one
    iou: tuple[float | None, ...]
    #: per class, the share of its pixels that were given to it; None for a class that is not in the truth
    accuracy: tuple[float | None, ...]
    pixel_accuracy: float
    baseline: float  #: the mean of ``iou`` if every pixel were given to the most frequent class
    mean_iou: float
    mean_accuracy: float


def overlap(matrix: Tensor, *, ignored: Collection[int] = ()) -> Overlap:
    """Return overlap and accuracy per class from a matrix that counts at least one pixel.

    ``ignored`` are classes without an overlap: the ignored number, where it is that of a class, and what the model has
    and the data has not. What is given to the latter counts as wrong.
    """
    counts = matrix.double().cpu()
    right = counts.diagonal()
    there, given = counts.sum(1), counts[:, :-1].sum(0)
    union = there + given - right
    union[[number for number in ignored if number < len(union)]] = 0
    baseline = float(there.max() / counts.sum() / (there > 0).sum())
    iou, accuracy = _ratios(right, union), _ratios(right, there)
    return Overlap(iou, accuracy, float(right.sum() / counts.sum()), baseline, _mean(iou), _mean(accuracy))


def _ratios(parts: Tensor, wholes: Tensor) -> tuple[float | None, ...]:
    return tuple(part / whole if whole else None for part, whole in zip(parts.tolist(), wholes.tolist(), strict=True))


def _mean(values: tuple[float | None, ...]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known)
