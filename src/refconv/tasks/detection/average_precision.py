"""Average precision as COCO defines it, computed by faster-coco-eval.

Per class and per threshold of overlap (0.5, 0.55, ..., 0.95), detections are matched to the objects of their image,
the surest first; the precision at 101 recalls is averaged over recalls, thresholds and classes. At most the 100 surest
detections of a class in an image count. COCO's crowds are neither to be found nor is finding them a mistake, even by a
detection that covers a small part of one; VOC's difficult objects are left out by VOC's own rule, which asks for an
ordinary overlap (:mod:`refconv.tasks.detection.pascal`).
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refconv.records import Record
from refconv.tasks.detection.objects import ImageResult, Kind, Objects
from refconv.tasks.detection.pascal import without_difficult
from refconv.tasks.detection.segments import coco_tools

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())
"""COCO's thresholds of overlap."""


@dataclass(frozen=True)
class AveragePrecision(Record):
    """Average precisions, from 0 to 1; None where there is nothing to find.

    Attributes:
        all: over all thresholds of overlap from 0.5 to 0.95.
        at50: at an overlap of 0.5.
        at75: at an overlap of 0.75.
        small: of objects below 32 x 32 pixels.
        medium: of those between.
        large: of objects from 96 x 96 pixels on.
        recall: the largest recall, averaged over thresholds.
        per_class: that of ``all`` for each class, in the order of the labels.
    """

    all: float | None
    at50: float | None
    at75: float | None
    small: float | None
    medium: float | None
    large: float | None
    recall: float | None
    per_class: tuple[float | None, ...]


def average_precision(results: Sequence[ImageResult], *, classes: int, kind: Kind = "bbox") -> AveragePrecision:
    """Compute COCO's average precision.

    Args:
        results: one per image, in any order.
        classes: how many classes there are; labels go from 1 to this.
        kind: whether boxes or masks are compared.

    Raises:
        DataError: if faster-coco-eval is not installed.
    """
    results = sorted(results, key=lambda result: result.image_id)
    if any(result.truth.difficult.any() for result in results):
        # Which detections are excused depends on the threshold.
        tables = [
            _tables([without_difficult(result, threshold, kind) for result in results], classes, kind, [threshold])
            for threshold in THRESHOLDS
        ]
        precision, recall = (np.concatenate(parts) for parts in zip(*tables, strict=True))
    else:
        precision, recall = _tables(results, classes, kind, THRESHOLDS)
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


def _tables(
    results: Sequence[ImageResult], classes: int, kind: Kind, thresholds: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return precisions [thresholds, recalls, classes, ranges of area] and recalls [thresholds, classes, ranges].

    They are -1 where there is nothing to find.
    """
    tools = coco_tools()
    truth = {
        "images": [
            {"id": number, "height": result.size[0], "width": result.size[1]}
            for number, result in enumerate(results, 1)
        ],
        "categories": [{"id": label, "name": str(label)} for label in range(1, classes + 1)],
        "annotations": _annotations([result.truth for result in results], kind, "area"),
    }
    found = _annotations([result.found for result in results], kind, "score")
    with contextlib.redirect_stdout(io.StringIO()):
        reference = tools.COCO(truth)
        detected = reference.loadRes(found)
        evaluation = tools.COCOeval_faster(reference, detected, iouType=kind, print_function=_silently)
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
    judged = [~(result.truth.crowd | result.truth.difficult) for result in results]
    boxes = np.concatenate([result.truth.boxes[own] for result, own in zip(results, judged, strict=True)])
    labels = np.concatenate([result.truth.labels[own] for result, own in zip(results, judged, strict=True)])
    present = np.unique(labels)
    means = np.array([boxes[labels == label].mean(axis=0) for label in present], dtype=np.float64).reshape(-1, 4)
    shares = np.array([(labels == label).mean() for label in present], dtype=np.float64)
    none = np.zeros(len(present), dtype=np.bool_)
    found = Objects(means, present, shares, none, none)
    return [replace(result, found=found) for result in results]


def _annotations(objects: Sequence[Objects], kind: str, weight: str) -> list[dict[str, Any]]:
    """Return objects as COCO's json would hold them; images are numbered from 1 on."""
    rows: list[dict[str, Any]] = []
    for image, group in enumerate(objects, 1):
        corners = np.concatenate([group.boxes[:, :2], group.boxes[:, 2:] - group.boxes[:, :2]], axis=1).tolist()
        columns = zip(corners, group.labels.tolist(), group.weights.tolist(), group.crowd.tolist(), strict=True)
        for number, (box, label, value, crowd) in enumerate(columns):
            row = {"id": len(rows) + 1, "image_id": image, "category_id": label, weight: value, "iscrowd": int(crowd)}
            if kind == "segm":
                assert group.masks is not None, "masks are compared where there are none"
                row["segmentation"] = group.masks[number]
            if kind == "bbox" or weight == "area":  # of a detection with a box, the box's area would count
                row["bbox"] = box
            rows.append(row)
    return rows


def _mean(values: NDArray[np.float64]) -> float | None:
    present = values[values > -1]
    return float(present.mean()) if present.size else None


def _silently(*_: object) -> None:
    pass
