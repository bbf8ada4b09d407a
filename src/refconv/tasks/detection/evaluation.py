"""How well a detector does: average precisions of boxes and masks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from refconv.tasks.detection.average_precision import average_precision, constant_results
from refconv.tasks.detection.objects import ImageResult
from refconv.tasks.detection.pascal import pascal_average_precision
from refconv.tasks.evaluation import Evaluation


@dataclass(frozen=True)
class DetectionEvaluation(Evaluation):
    """How well a detector does on a split: COCO's average precisions, from 0 to 1, at the images' own sizes.

    Of data in VOC's layout also VOC's own. VOC's difficult objects are left out of both by VOC's rule (see
    :mod:`refconv.tasks.detection.pascal`). None stands where there is nothing to find: no object at all, of this
    size or of this class. Detectors have no loss in evaluation.

    Attributes:
        samples: how many images were evaluated.
        map: COCO's average precision of boxes: 101 recalls, over overlaps from 0.5 to 0.95 and over classes.
        map50: the same at an overlap of 0.5.
        map75: the same at an overlap of 0.75.
        map_small: that of ``map`` for objects below 32 x 32 pixels.
        map_medium: the same for those between.
        map_large: the same for objects from 96 x 96 pixels on.
        baseline_map: ``map`` of a detector that does not look: in every image the mean box of each class.
        recall: share of the objects found among the 100 surest boxes of each image, over overlaps and classes.
        per_class: that of ``map`` for each class, by name.
        mask_map: as ``map`` for masks; None where the data or the model has none, as in what follows.
        mask_map50: as ``map50`` for masks.
        mask_map75: as ``map75`` for masks.
        mask_per_class: as ``per_class`` for masks.
        voc_ap50: VOC's average precision of boxes since 2010: the area under the curve at an overlap of 0.5, over
            classes; None for data in other layouts.
    """

    map: float | None
    map50: float | None
    map75: float | None
    map_small: float | None
    map_medium: float | None
    map_large: float | None
    baseline_map: float | None
    recall: float | None
    per_class: dict[str, float | None]
    mask_map: float | None = None
    mask_map50: float | None = None
    mask_map75: float | None = None
    mask_per_class: dict[str, float | None] | None = None
    voc_ap50: float | None = None

    def classes(self) -> dict[str, float | None]:
        """Return ``per_class``."""
        return dict(self.per_class)

    def __str__(self) -> str:
        shares = {"mAP": self.map, "mAP50": self.map50, "mAP75": self.map75}
        if self.voc_ap50 is not None:
            shares["VOC AP50"] = self.voc_ap50
        if self.mask_map is not None:
            shares["mask mAP"] = self.mask_map
        words = "  ".join(f"{name} {'-' if value is None else f'{value:.2%}'}" for name, value in shares.items())
        return f"{words}  on {self.samples:,} images"


def evaluation_of(results: Sequence[ImageResult], names: Sequence[str], *, is_voc: bool) -> DetectionEvaluation:
    """Return the evaluation of what was detected.

    Args:
        results: one per image; masks are compared where all have them.
        names: one per class.
        is_voc: whether to compute VOC's own average precision, too.

    Raises:
        DataError: if faster-coco-eval is not installed.
    """
    boxes = average_precision(results, classes=len(names))
    found = DetectionEvaluation(
        samples=len(results),
        map=boxes.all,
        map50=boxes.at50,
        map75=boxes.at75,
        map_small=boxes.small,
        map_medium=boxes.medium,
        map_large=boxes.large,
        baseline_map=average_precision(constant_results(results), classes=len(names)).all,
        recall=boxes.recall,
        per_class=dict(zip(names, boxes.per_class, strict=True)),
    )
    if is_voc:
        found = dataclasses.replace(found, voc_ap50=_mean(pascal_average_precision(results, classes=len(names))))
    if any(result.truth.masks is None for result in results):
        return found
    regions = average_precision(results, classes=len(names), kind="segm")
    return dataclasses.replace(
        found,
        mask_map=regions.all,
        mask_map50=regions.at50,
        mask_map75=regions.at75,
        mask_per_class=dict(zip(names, regions.per_class, strict=True)),
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
