"""How well a detector does: average precisions of boxes and masks, COCO's computed by faster-coco-eval.

Per class and per threshold of overlap (0.5, 0.55, ..., 0.95), detections are matched to the objects of their image,
the highest score first; the precision at 101 recalls is averaged over recalls, thresholds and classes. At most the 100
highest-scoring detections of a class in an image count. COCO's crowds are neither to be found nor is finding them a
mistake, even by a detection that covers a small part of one; VOC's difficult objects are left out by VOC's own rule,
which asks for an ordinary overlap (:mod:`refconv.tasks.detection.pascal`).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refconv.tasks.detection.objects import ImageResult, Kind, Objects
from refconv.tasks.detection.pascal import pascal_average_precision, without_difficult
from refconv.tasks.detection.segments import coco_tools
from refconv.tasks.evaluation import Evaluation

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""COCO's thresholds of overlap."""


@dataclass(frozen=True)
class DetectionEvaluation(Evaluation):
    """How well a detector does on a split: COCO's average precisions, from 0 to 1, at the images' own sizes.

    Of data in VOC's layout also VOC's own. VOC's difficult objects are left out of both by VOC's rule. None stands
    where there is nothing to find: no object at all, of this size or of this class. There is no loss in evaluation.

    Attributes:
        map: COCO's average precision of boxes: 101 recalls, over overlaps from 0.5 to 0.95 and over classes.
        map50: the same at an overlap of 0.5; ``map75`` at 0.75.
        map_small: that of ``map`` for objects below 32 x 32 pixels; ``map_large`` from 96 x 96 on.
        baseline_map: ``map`` of a detector that does not look: in every image the mean box of each class.
        recall: share of the objects found among the 100 highest-scoring boxes of each image, over overlaps and classes.
        per_class: that of ``map`` for each class, by name.
        mask_map: as ``map`` for masks, like the following three; None where the data or the model has none.
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
    """Return the evaluation of what was detected; masks are compared where all results have them."""
    classes, truth = len(names), ground_truth(results, len(names))
    boxes = average_precision(results, classes=classes, truth=truth)
    found = DetectionEvaluation(
        samples=len(results),
        map=boxes.all,
        map50=boxes.at50,
        map75=boxes.at75,
        map_small=boxes.small,
        map_medium=boxes.medium,
        map_large=boxes.large,
        baseline_map=average_precision(constant_results(results), classes=classes, truth=truth).all,
        recall=boxes.recall,
        per_class=dict(zip(names, boxes.per_class, strict=True)),
    )
    if is_voc:
        known = [value for value in pascal_average_precision(results, classes=classes) if value is not None]
        found = replace(found, voc_ap50=sum(known) / len(known) if known else None)
    if any(result.truth.masks is None for result in results):
        return found
    masks = average_precision(results, classes=classes, kind="segm", truth=truth)
    per_class = dict(zip(names, masks.per_class, strict=True))
    return replace(found, mask_map=masks.all, mask_map50=masks.at50, mask_map75=masks.at75, mask_per_class=per_class)


@dataclass(frozen=True)
class AveragePrecision:
    """Average precisions, from 0 to 1, as in :class:`DetectionEvaluation`; None where there is nothing to find."""

    all: float | None
    at50: float | None
    at75: float | None
    small: float | None
    medium: float | None
    large: float | None
    recall: float | None
    per_class: tuple[float | None, ...]


def average_precision(
    results: Sequence[ImageResult], *, classes: int, kind: Kind = "bbox", truth: Any = None
) -> AveragePrecision:
    """Compute COCO's average precision of results, one per image, in any order; labels go from 1 to ``classes``.

    ``truth`` is the :func:`ground_truth` of the same images, where it was built before.
    """
    truth = ground_truth(results, classes) if truth is None else truth
    results = sorted(results, key=lambda result: result.image_id)
    if any(result.truth.difficult.any() for result in results):
        # Which detections are excused depends on the threshold.
        tables = [
            _tables(truth, [without_difficult(result, threshold, kind).found for result in results], kind, [threshold])
            for threshold in THRESHOLDS
        ]
        precision, recall = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    else:
        precision, recall = _tables(truth, [result.found for result in results], kind, THRESHOLDS)
    return AveragePrecision(
        all=_mean(precision[..., 0]),
        at50=_mean(precision[0, ..., 0]),
        at75=_mean(precision[5, ..., 0]),
        small=_mean(precision[..., 1]),
        medium=_mean(precision[..., 2]),
        large=_mean(precision[..., 3]),
        recall=_mean(recall[..., 0]),
        per_class=tuple(_mean(precision[:, :, number, 0]) for number in range(classes)),
    )


def ground_truth(results: Sequence[ImageResult], classes: int) -> Any:
    """Return the objects to find, boxes and any masks, as faster-coco-eval takes them; difficult ones are left out."""
    results = sorted(results, key=lambda result: result.image_id)
    objects = [result.truth.chosen(~result.truth.difficult) for result in results]
    content = {
        "images": [
            {"id": number, "height": result.size[0], "width": result.size[1]}
            for number, result in enumerate(results, 1)
        ],
        "categories": [{"id": label, "name": str(label)} for label in range(1, classes + 1)],
        "annotations": _annotations(objects, "area", boxes=True, masks=all(one.masks is not None for one in objects)),
    }
    with contextlib.redirect_stdout(io.StringIO()):
        return coco_tools().COCO(content)


def _tables(
    truth: Any, objects: Sequence[Objects], kind: Kind, thresholds: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precisions [thresholds, recalls, classes, ranges of area] and recalls [thresholds, classes, ranges].

    They are -1 where there is nothing to find.
    """
    # Of a detection with a box, the box's area would count.
    found = _annotations(objects, "score", boxes=kind == "bbox", masks=kind == "segm")
    with contextlib.redirect_stdout(io.StringIO()):
        detected = truth.loadRes(found)
        evaluation = coco_tools().COCOeval_faster(truth, detected, iouType=kind, print_function=lambda *_: None)
        evaluation.params.iouThrs = np.asarray(thresholds)
        evaluation.evaluate()
        evaluation.accumulate()
    precision, recall = (np.asarray(evaluation.eval[name]) for name in ("precision", "recall"))
    return precision[..., -1], recall[..., -1]  # with the most detections


def constant_results(results: Sequence[ImageResult]) -> list[ImageResult]:
    """Return the results of a detector that does not look: in every image the mean box of each class.

    Mean boxes and frequencies, which are the scores, are those of the annotated objects themselves. It is the trivial
    baseline that a detector has to beat.
    """
    judged = [result.truth.chosen(~(result.truth.crowd | result.truth.difficult)) for result in results]
    boxes, labels = (np.concatenate([getattr(one, name) for one in judged]) for name in ("boxes", "labels"))
    present = np.unique(labels)
    means = np.array([boxes[labels == label].mean(axis=0) for label in present], dtype=np.float64).reshape(-1, 4)
    shares = np.array([(labels == label).mean() for label in present], dtype=np.float64)
    none = np.zeros(len(present), dtype=np.bool_)
    return [replace(result, found=Objects(means, present, shares, none, none)) for result in results]


def _annotations(objects: Sequence[Objects], weight: str, *, boxes: bool, masks: bool) -> list[dict[str, Any]]:
    """Return objects as COCO's json would hold them; images are numbered from 1 on."""
    rows: list[dict[str, Any]] = []
    for image, group in enumerate(objects, 1):
        corners = np.concatenate([group.boxes[:, :2], group.boxes[:, 2:] - group.boxes[:, :2]], axis=1).tolist()
        columns = zip(corners, group.labels.tolist(), group.weights.tolist(), group.crowd.tolist(), strict=True)
        for number, (box, label, value, crowd) in enumerate(columns):
            row = {"id": len(rows) + 1, "image_id": image, "category_id": label, weight: value, "iscrowd": int(crowd)}
            if masks:
                assert group.masks is not None, "masks are compared where there are none"
                row["segmentation"] = group.masks[number]
            if boxes:
                row["bbox"] = box
            rows.append(row)
    return rows


def _mean(values: NDArray[np.float64]) -> float | None:
    present = values[values > -1]
    return float(present.mean()) if present.size else None
