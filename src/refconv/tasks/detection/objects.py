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


def image_result(
    target: dict[str, Any], output: dict[str, Tensor], size: tuple[int, int], *, masks: bool
) -> ImageResult:
    """Bring a target and a detector's output for one image into the form in which they are compared.

    Args:
        target: ``boxes`` [n, 4], ``labels``, ``area``, ``iscrowd``, perhaps ``difficult``, ``image_id`` and, for
            masks, ``runs``.
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
            _array(target.get("difficult", torch.zeros_like(target["iscrowd"])), np.bool_),
            tuple(target["runs"]) if masks else None,
        ),
        found=Objects(
            _array(output["boxes"], np.float64).reshape(-1, 4),
            _array(output["labels"], np.int64),
            scores,
            np.zeros(count, dtype=np.bool_),
            np.zeros(count, dtype=np.bool_),
            runs(output["masks"].reshape(count, *size) > 0.5) if masks else None,
        ),
    )


def _array(values: Tensor, kind: type) -> NDArray[Any]:
    exact = values.float() if values.dtype == torch.bfloat16 else values  # numpy has no bf16
    return exact.detach().cpu().numpy().astype(kind)
