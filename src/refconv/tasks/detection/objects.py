"""Objects of images, annotated and detected, in the form in which they are compared."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refconv.tasks.detection.segments import Runs, runs

Kind = Literal["bbox", "segm"]
"""Whether boxes or masks are compared."""


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
        arrays = (self.boxes, self.labels, self.weights, self.crowd, self.difficult)
        return Objects(*(array[kept] for array in arrays), masks)


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
