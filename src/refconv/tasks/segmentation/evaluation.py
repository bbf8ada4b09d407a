"""How well a segmenter does: overlap and accuracy of classes, loss."""

from __future__ import annotations

from dataclasses import dataclass

from refconv.tasks.evaluation import Evaluation


@dataclass(frozen=True)
class SegmentationEvaluation(Evaluation):
    """How well a segmenter does on a split, over all its pixels but the ignored ones.

    Images are compared at the size at which the model sees them (see :mod:`refconv.tasks.segmentation.data`).

    Attributes:
        samples: how many images were evaluated.
        miou: mean over classes of ``class_iou``; classes without one are left out.
        pixel_accuracy: share of pixels whose class has the largest output.
        mean_accuracy: the same share among the pixels of one class, as a mean over the classes in the truth.
        loss: mean cross-entropy of a pixel.
        baseline_miou: ``miou`` of giving every pixel to the most frequent class.
        class_iou: per class, the pixels that are of it and were given to it, over those that are or were; None for a
            class that is neither in the truth nor in the predictions.
    """

    miou: float
    pixel_accuracy: float
    mean_accuracy: float
    loss: float
    baseline_miou: float
    class_iou: dict[str, float | None]

    def classes(self) -> dict[str, float | None]:
        """Return ``class_iou``."""
        return dict(self.class_iou)

    def __str__(self) -> str:
        known = sum(value is not None for value in self.class_iou.values())
        among = "" if known == len(self.class_iou) else f" ({known} of {len(self.class_iou)} classes)"
        return (
            f"mean IoU {self.miou:.2%}{among}  pixel accuracy {self.pixel_accuracy:.2%}  "
            f"mean accuracy {self.mean_accuracy:.2%}  loss {self.loss:.4f}  on {self.samples:,} images"
        )
