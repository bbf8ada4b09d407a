"""Objects of images, annotated and detected, in the form in which they are compared."""

from __future__ import annotations

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
    """Objects of one image, annotated or detected.

    Attributes:
        boxes: x0, y0, x1, y1 in pixels, float64 [objects, 4].
        labels: classes from 1 on, int64 [objects].
        weights: of annotated objects the area in pixels, of detected ones the score, float64 [objects].
        crowd: of annotated objects, whether they are COCO's groups under one box, bool [objects].
        difficult: of annotated objects, whether they are VOC's difficult ones, bool [objects].
        masks: one per object; None where masks are not judged.
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
    scores = _array(output["scores"], np.float64)
    count, none = len(scores), np.zeros(len(scores), dtype=np.bool_)
    return ImageResult(
        int(target["image_id"]),
        size,
        truth=Objects(
            _array(target["boxes"], np.float64).reshape(-1, 4),
            _array(target["labels"], np.int64),
            _array(target["area"], np.float64),
            _array(target["iscrowd"], np.bool_),
            _array(target.get("difficult", torch.zeros_like(target["iscrowd"])), np.bool_),
            tuple(target["runs"]) if masks else None,
        ),
        found=Objects(
            _array(output["boxes"], np.float64).reshape(-1, 4),
            _array(output["labels"], np.int64),
            scores,
            none,
            none,
            runs(output["masks"].reshape(count, *size) > 0.5) if masks else None,
        ),
    )


def _array(values: Tensor, kind: type) -> NDArray[Any]:
    exact = values.float() if values.dtype == torch.bfloat16 else values  # numpy has no bf16
    return exact.detach().cpu().numpy().astype(kind)
