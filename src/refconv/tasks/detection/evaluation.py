"""How well a detector does: COCO's average precisions of boxes and masks, and Pascal VOC's of boxes.

COCO's, computed by faster-coco-eval: per class and per threshold of overlap (0.5, 0.55, ..., 0.95), detections are
matched to the objects of their image, the highest score first; the precision at 101 recalls is averaged over recalls,
thresholds and classes. At most the 100 highest-scoring detections of a class in an image count. COCO's crowds are
neither to be found nor is finding them a mistake, even by a detection that covers a small part of one.

VOC's rules (Everingham et al. 2010, and its development kit): a detection belongs to the object of its class and image
that it overlaps with most. If that overlap reaches the threshold and the object is difficult, the detection counts
neither way, however many there are; difficult objects need not be found. Of the detections that belong to another
object the one with the highest score is right, the others are mistakes, as are those that overlap too little with all.
VOC's own average precision, since 2010, is at an overlap of 0.5: the area under the curve of precision over recall, the
precision at a recall being the best at that recall or a larger one; the mean over classes is VOC's mAP.

Note [coordinates]: the kit counts pixels inclusively from 1. Boxes here reach from the left edge of their first pixel
to the right edge of their last, so that ordinary areas of them are the kit's.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.ops import box_iou

from refconv.tasks.detection.annotations import Runs, coco_tools, runs
from refconv.tasks.evaluation import Evaluation

THRESHOLDS = tuple(np.linspace(0.5, 0.95, 10).tolist())  #: COCO's thresholds of overlap
_VOC_OVERLAP = 0.5


@dataclass(frozen=True)
class DetectionEvaluation(Evaluation):
    """How well a detector does on a split: average precisions, from 0 to 1, at the images' own sizes.

    VOC's difficult objects are left out by VOC's rule. None stands where there is nothing to find: no object at all, of
    this size or of this class. There is no loss in evaluation.
    """

    #: COCO's average precision of boxes, over overlaps from 0.5 to 0.95; ``map50`` and ``map75`` at one of them
    map: float | None
    map50: float | None
    map75: float | None
    map_small: float | None  #: that of ``map`` for objects below 32 x 32 pixels; ``map_large`` from 96 x 96 on
    map_medium: float | None
    map_large: float | None
    baseline_map: float | None  #: ``map`` of a detector that does not look: in every image the mean box of each class
    #: share of the objects found among the 100 highest-scoring boxes of each image, over overlaps and classes
    recall: float | None
    per_class: dict[str, float | None]
    #: as ``map`` for masks, like the following three; None where the data or the model has none
    mask_map: float | None = None
    mask_map50: float | None = None
    mask_map75: float | None = None
    mask_per_class: dict[str, float | None] | None = None
    voc_ap50: float | None = None  #: VOC's average precision of boxes, over classes; None for data in other layouts
    by_class: ClassVar[str] = "per_class"

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
    baseline = average_precision(constant_results(results), classes=classes, truth=truth).map
    named = {**boxes._asdict(), "per_class": dict(zip(names, boxes.per_class, strict=True))}
    found = DetectionEvaluation(len(results), **named, baseline_map=baseline)
    if is_voc:
        known = [value for value in pascal_average_precision(results, classes=classes) if value is not None]
        found = replace(found, voc_ap50=sum(known) / len(known) if known else None)
    if any(result.truth.masks is None for result in results):
        return found
    masks = average_precision(results, classes=classes, kind="segm", truth=truth)
    per_class = dict(zip(names, masks.per_class, strict=True))
    return replace(found, mask_map=masks.map, mask_map50=masks.map50, mask_map75=masks.map75, mask_per_class=per_class)


class AveragePrecision(NamedTuple):
    """Average precisions as in :class:`DetectionEvaluation`, those of classes in the order of the labels."""

    map: float | None
    map50: float | None
    map75: float | None
    map_small: float | None
    map_medium: float | None
    map_large: float | None
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
    overall, small, medium, large = (_mean(precision[..., size]) for size in range(4))
    per_class = tuple(_mean(precision[:, :, number, 0]) for number in range(classes))
    at50, at75 = (_mean(precision[step, ..., 0]) for step in (0, 5))
    return AveragePrecision(overall, at50, at75, small, medium, large, _mean(recall[..., 0]), per_class)


def ground_truth(results: Sequence[ImageResult], classes: int) -> Any:
    """Return the objects to find, boxes and any masks, as faster-coco-eval takes them; difficult ones are left out."""
    results = sorted(results, key=lambda result: result.image_id)
    objects = [result.truth.chosen(~result.truth.difficult) for result in results]
    content = {
        "images": [{"id": n, "height": one.size[0], "width": one.size[1]} for n, one in enumerate(results, 1)],
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

    Mean boxes and frequencies, which are the scores, are those of the annotated objects: the trivial baseline.
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
        kept = without_difficult(result, _VOC_OVERLAP, "bbox")
        hit = np.zeros(len(kept.found.labels), dtype=np.bool_)
        if len(easy):
            best, overlaps = _nearest(kept, "bbox")
            taken: set[int] = set()
            for number in np.argsort(-kept.found.weights, kind="stable").tolist():
                if overlaps[number] >= _VOC_OVERLAP and best[number] not in taken:
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
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(envelope[right.astype(np.bool_)].sum() / positives)


def _nearest(result: ImageResult, kind: Kind) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return, per detection, the object of its class that it overlaps with most, and that overlap; -1 without any."""
    found, truth = result.found, result.truth
    alike = found.labels[:, None] == truth.labels[None, :]
    if kind == "segm":
        assert found.masks is not None
        assert truth.masks is not None
        shared: Any = coco_tools().mask.iou(list(found.masks), list(truth.masks), [False] * len(truth.labels))
        ratios = np.asarray(shared, dtype=np.float64).reshape(alike.shape)
    else:  # NaN for boxes without area
        ratios = box_iou(torch.from_numpy(found.boxes), torch.from_numpy(truth.boxes)).nan_to_num(0.0).numpy()
    overlaps = np.where(alike, ratios, -1.0)
    return overlaps.argmax(axis=1), overlaps.max(axis=1)


Kind = Literal["bbox", "segm"]  #: Whether boxes or masks are compared


@dataclass(frozen=True)
class Objects:
    """Objects of one image, annotated or detected: boxes x0, y0, x1, y1 in pixels, [objects, 4], labels from 1 on.

    ``weights`` are areas in pixels of annotated objects, scores of detected ones. Annotated objects may be COCO's
    groups under one box (``crowd``) or VOC's difficult ones. Without ``masks`` these are not judged.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    difficult: NDArray[np.bool_]
    masks: tuple[Runs, ...] | None = None

    def chosen(self, kept: NDArray[np.bool_]) -> Objects:
        """Return some of the objects; ``kept`` is bool [objects]."""
        masks = None if self.masks is None else tuple(m for m, keep in zip(self.masks, kept, strict=True) if keep)
        flags = (self.crowd[kept], self.difficult[kept])
        return Objects(self.boxes[kept], self.labels[kept], self.weights[kept], *flags, masks)


@dataclass(frozen=True)
class ImageResult:
    """What there is in an image, and what was detected; results are put into the order of ``image_id`` before use."""

    image_id: int
    size: tuple[int, int]
    truth: Objects
    found: Objects


def image_result(
    target: dict[str, Any], output: dict[str, Tensor], size: tuple[int, int], *, masks: bool
) -> ImageResult:
    """Bring a target and a detector's output for an image of size (height, width) into a form to be compared."""
    crowd, difficult = target["iscrowd"], target.get("difficult", torch.zeros_like(target["iscrowd"]))
    none = torch.zeros(len(output["scores"]))
    planes = runs(output["masks"].reshape(len(none), *size) > 0.5) if masks else None
    truth = _objects(target, "area", (crowd, difficult), tuple(target["runs"]) if masks else None)
    return ImageResult(int(target["image_id"]), size, truth, _objects(output, "scores", (none, none), planes))


def _objects(
    source: Mapping[str, Any], weight: str, flags: Iterable[Tensor], masks: tuple[Runs, ...] | None
) -> Objects:
    boxes = _array(source["boxes"], np.float64).reshape(-1, 4)
    labels, weights = _array(source["labels"], np.int64), _array(source[weight], np.float64)
    crowd, difficult = (_array(flag, np.bool_) for flag in flags)
    return Objects(boxes, labels, weights, crowd, difficult, masks)


def _array(values: Tensor, kind: type) -> NDArray[Any]:
    exact = values.float() if values.dtype == torch.bfloat16 else values  # numpy has no bf16
    return exact.detach().cpu().numpy().astype(kind)
