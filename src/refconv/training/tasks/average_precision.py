"""Average precision as COCO defines it, computed by faster-coco-eval.

Per class and per threshold of overlap (0.5, 0.55, ..., 0.95), detections are matched to the objects of their image,
the surest first; the precision at 101 recalls is averaged over recalls, thresholds and classes. At most the 100 surest
detections of an image count. Objects marked as crowds are neither to be found nor is finding them a mistake.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refconv.errors import DataError
from refconv.records import Record

Runs = dict[str, Any]
"""A mask as compressed runs, as COCO's tools write them: ``size`` and ``counts``."""


@dataclass(frozen=True)
class Objects:
    """Objects of one image, annotated or detected.

    Attributes:
        boxes: x0, y0, x1, y1 in pixels, float64 [objects, 4].
        labels: classes from 1 on, int64 [objects].
        weights: of annotated objects the area in pixels, of detected ones the score, float64 [objects].
        crowd: of annotated objects, whether not to judge them, bool [objects].
        masks: one per object; None where masks are not judged.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    masks: tuple[Runs, ...] | None = None


@dataclass(frozen=True)
class ImageResult:
    """What there is in an image, and what was detected.

    Attributes:
        image_id: the image's number; results are put into this order before anything is computed.
        size: height and width in pixels.
        truth: the annotated objects.
        found: the detected ones.
    """

    image_id: int
    size: tuple[int, int]
    truth: Objects
    found: Objects


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


def average_precision(
    results: Sequence[ImageResult], *, classes: int, kind: Literal["bbox", "segm"] = "bbox"
) -> AveragePrecision:
    """Compute COCO's average precision.

    Args:
        results: one per image, in any order.
        classes: how many classes there are; labels go from 1 to this.
        kind: whether boxes or masks are compared.

    Raises:
        DataError: if faster-coco-eval is not installed.
    """
    coco, evaluator = _evaluator()
    results = sorted(results, key=lambda result: result.image_id)
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
        reference = coco(truth)
        evaluation = evaluator(reference, reference.loadRes(found), iouType=kind, print_function=_silently)
        evaluation.evaluate()
        evaluation.accumulate()
    # [thresholds, recalls, classes, ranges of area, limits of detections]; -1 where there is nothing to find
    precision, recall = (np.asarray(evaluation.eval[name]) for name in ("precision", "recall"))
    precision, recall = precision[..., -1], recall[..., -1]
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


def constant_results(results: Sequence[ImageResult]) -> list[ImageResult]:
    """Return the results of a detector that does not look: in every image the mean box of each class.

    Mean boxes and frequencies, which are the scores, are those of the annotated objects themselves. It is the trivial
    baseline that a detector has to beat.
    """
    boxes = np.concatenate([result.truth.boxes[~result.truth.crowd] for result in results])
    labels = np.concatenate([result.truth.labels[~result.truth.crowd] for result in results])
    present = np.unique(labels)
    means = np.array([boxes[labels == label].mean(axis=0) for label in present], dtype=np.float64).reshape(-1, 4)
    shares = np.array([(labels == label).mean() for label in present], dtype=np.float64)
    found = Objects(means, present, shares, np.zeros(len(present), dtype=np.bool_))
    return [replace(result, found=found) for result in results]


def check_installed() -> None:
    """Check that average precision can be computed here.

    Raises:
        DataError: if faster-coco-eval is not installed.
    """
    _evaluator()


def image_result(
    target: dict[str, Tensor], output: dict[str, Tensor], size: tuple[int, int], *, masks: bool
) -> ImageResult:
    """Bring a target and a detector's output for one image into the form in which they are compared.

    Args:
        target: ``boxes`` [n, 4], ``labels``, ``area``, ``iscrowd``, ``image_id`` and, for masks, ``masks`` [n, H, W].
        output: ``boxes`` [m, 4], ``labels``, ``scores`` and, for masks, ``masks`` [m, 1, H, W] from 0 to 1.
        size: height and width of the image in pixels.
        masks: whether masks are compared too.
    """
    scores = _array(output["scores"], np.float64)
    count = len(scores)
    return ImageResult(
        int(target["image_id"]),
        size,
        truth=Objects(
            _array(target["boxes"], np.float64).reshape(-1, 4),
            _array(target["labels"], np.int64),
            _array(target["area"], np.float64),
            _array(target["iscrowd"], np.bool_),
            runs(target["masks"] > 0) if masks else None,
        ),
        found=Objects(
            _array(output["boxes"], np.float64).reshape(-1, 4),
            _array(output["labels"], np.int64),
            scores,
            np.zeros(count, dtype=np.bool_),
            runs(output["masks"].reshape(count, *size) > 0.5) if masks else None,
        ),
    )


def runs(masks: Tensor) -> tuple[Runs, ...]:
    """Return masks, bool [n, H, W], as compressed runs.

    Raises:
        DataError: if faster-coco-eval is not installed.
    """
    check_installed()
    from faster_coco_eval import mask

    planes = masks.to("cpu", torch.uint8).numpy()
    return tuple(mask.encode(np.asfortranarray(plane)) for plane in planes)


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


def _array(values: Tensor, kind: type) -> NDArray[Any]:
    exact = values.float() if values.dtype == torch.bfloat16 else values  # numpy has no bf16
    return exact.detach().cpu().numpy().astype(kind)


def _silently(*_: object) -> None:
    pass


def _evaluator() -> tuple[Any, Any]:
    """Return faster-coco-eval's classes of annotations and of the evaluation.

    Raises:
        DataError: if it is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise DataError(
            "average precision needs faster-coco-eval", where="evaluation", remedy='pip install "refconv[tasks]"'
        ) from error
    return COCO, COCOeval_faster
