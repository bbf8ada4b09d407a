"""Pascal VOC's rules of detection (Everingham et al. 2010, and its development kit).

A detection belongs to the object of its class and image that it overlaps with most. If that overlap reaches the
threshold and the object is difficult, the detection counts neither way, however many there are; objects that are
difficult need not be found. Of the detections that belong to another object the one with the highest score is right,
the others are mistakes, as are those that overlap too little with all.

VOC's own average precision, since 2010, is at an overlap of 0.5: the area under the curve of precision over recall, the
precision at a recall being the best at that recall or a larger one; the mean over classes is VOC's mAP.

Note [coordinates]: the kit counts pixels inclusively from 1. Boxes here reach from the left edge of their first pixel
to the right edge of their last, so that ordinary areas of them are the kit's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refconv.tasks.detection.objects import ImageResult, Kind, Objects
from refconv.tasks.detection.segments import coco_tools

OVERLAP = 0.5
"""The overlap from which VOC counts an object as found."""


def without_difficult(result: ImageResult, threshold: float, kind: Kind) -> ImageResult:
    """Return a result without difficult objects, and without the detections that belong to them at a threshold."""
    difficult = result.truth.difficult
    if not difficult.any():
        return result
    best, overlaps = _nearest(result, kind)
    excused = (overlaps >= threshold) & difficult[best]
    return replace(result, truth=result.truth.chosen(~difficult), found=result.found.chosen(~excused))


def pascal_average_precision(results: Sequence[ImageResult], *, classes: int) -> tuple[float | None, ...]:
    """Return VOC's average precision of each class, from 0 to 1; None where there is nothing to find.

    Detections of equal scores count in the order of their images' numbers.
    """
    labels, scores, hits = [], [], []
    positives = np.zeros(classes + 1, dtype=np.int64)
    for result in sorted(results, key=lambda result: result.image_id):
        easy = result.truth.labels[~result.truth.difficult]
        positives += np.bincount(easy, minlength=classes + 1)
        kept = without_difficult(result, OVERLAP, "bbox")
        hit = np.zeros(len(kept.found.labels), dtype=np.bool_)
        if len(easy):
            best, overlaps = _nearest(kept, "bbox")
            taken: set[int] = set()
            for number in np.argsort(-kept.found.weights, kind="stable").tolist():
                if overlaps[number] >= OVERLAP and best[number] not in taken:
                    hit[number] = True
                    taken.add(int(best[number]))
        labels.append(kept.found.labels)
        scores.append(kept.found.weights)
        hits.append(hit)
    label, score, right = (np.concatenate(parts) if parts else np.empty(0) for parts in (labels, scores, hits))
    return tuple(
        _area(right[label == number][np.argsort(-score[label == number], kind="stable")], int(positives[number]))
        for number in range(1, classes + 1)
    )


def _area(right: NDArray[np.bool_], positives: int) -> float | None:
    """Return the area under precision over recall; ``right`` has the detection with the highest score first."""
    if not positives:
        return None
    found = np.cumsum(right)
    precision = found / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right.astype(np.bool_)].sum() / positives)


def _nearest(result: ImageResult, kind: Kind) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return, per detection, the object of its class that it overlaps with most, and that overlap; -1 without any."""
    overlaps = np.where(
        result.found.labels[:, None] == result.truth.labels[None, :], _overlaps(result.found, result.truth, kind), -1.0
    )
    return overlaps.argmax(axis=1), overlaps.max(axis=1)


def _overlaps(found: Objects, truth: Objects, kind: Kind) -> NDArray[np.float64]:
    """Return intersection over union, [detections, objects]."""
    if kind == "segm":
        assert found.masks is not None
        assert truth.masks is not None
        overlaps: Any = coco_tools().mask.iou(list(found.masks), list(truth.masks), [False] * len(truth.labels))
        return np.asarray(overlaps, dtype=np.float64).reshape(len(found.labels), len(truth.labels))
    first, second = found.boxes[:, None], truth.boxes[None]
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(first[..., :2], second[..., :2])
    both = sides.clip(min=0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (first, second)]
    union = areas[0] + areas[1] - both
    ratios: NDArray[np.float64] = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return ratios
