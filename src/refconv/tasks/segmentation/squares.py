"""Boxes of images and their masks, scaled to the square that a model takes."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from refconv.data.augmentation import Range


@dataclasses.dataclass(frozen=True)
class Box:
    """A part of an image in pixels from its left upper corner, which may reach beyond it."""

    left: float
    top: float
    width: float
    height: float


def whole_box(width: int, height: int) -> Box:
    """Return the smallest square that holds a whole image, which lies in the middle of it.

    Example:
        >>> whole_box(40, 30)
        Box(left=0.0, top=-5.0, width=40.0, height=40.0)
    """
    side = float(max(width, height))
    return Box((width - side) / 2, (height - side) / 2, side, side)


def place_in_square(width: int, height: int, *, size: int) -> tuple[int, int, int, int]:
    """Return where a whole image lies in its square of ``size`` pixels: left, top, right and bottom.

    Example:
        >>> place_in_square(40, 20, size=32)
        (0, 8, 32, 24)
    """
    box = whole_box(width, height)
    _, _, left, right = _along(box.left, box.width, width, size)
    _, _, top, bottom = _along(box.top, box.height, height, size)
    return left, top, right, bottom


def random_box(width: int, height: int, *, scale: Range, ratio: Range) -> Box:
    """Draw a box from torch's generator.

    Its area is uniform in ``scale`` times that of :func:`whole_box`, the logarithm of its aspect ratio uniform in that
    of ``ratio``. Along each dimension it lies within the image at random, or, where it is longer, around it.
    """
    area, shape, x, y = torch.rand(4, dtype=torch.float64).tolist()
    side = max(width, height) * math.sqrt(scale[0] + area * (scale[1] - scale[0]))
    root = math.exp((math.log(ratio[0]) + shape * (math.log(ratio[1]) - math.log(ratio[0]))) / 2)
    # x (width - box) runs from 0 to what is left, which is negative for a box that reaches beyond the image.
    return Box(x * (width - side * root), y * (height - side / root), side * root, side / root)


def fitted(
    image: Image.Image,
    classes: NDArray[np.uint8] | None,
    box: Box,
    *,
    size: int,
    resample: Image.Resampling,
    fill: tuple[int, ...],
    ignored: int,
) -> tuple[Image.Image, NDArray[np.uint8]]:
    """Scale a box of an image and of its mask [H, W] to a square of ``size`` pixels; the mask by the nearest pixel.

    ``fill`` is the colour outside the image, where pixels are ``ignored``; without ``classes`` all are.
    """
    (x0, x1, left, right), (y0, y1, top, bottom) = (
        _along(box.left, box.width, image.width, size),
        _along(box.top, box.height, image.height, size),
    )
    picture = Image.new(image.mode, (size, size), fill[0] if len(fill) == 1 else fill)
    truth = np.full((size, size), ignored, dtype=np.uint8)
    scaled = image.resize((right - left, bottom - top), resample, box=(x0, y0, x1, y1))
    picture.paste(scaled, (left, top))
    if classes is not None:
        rows, columns = _nearest(y0, y1, bottom - top), _nearest(x0, x1, right - left)
        truth[top:bottom, left:right] = classes[rows[:, None], columns]
    return picture, truth


def _along(start: float, length: float, image: int, size: int) -> tuple[float, float, int, int]:
    """Return, along one dimension, the part of the image inside the box, and where it goes in the square."""
    first, last = max(0.0, start), min(float(image), start + length)
    low, high = (round((edge - start) / length * size) for edge in (first, last))
    low = min(low, size - 1)
    return first, last, low, max(high, low + 1)


def _nearest(first: float, last: float, count: int) -> NDArray[np.int64]:
    """Return the pixels nearest to the middles of ``count`` equal parts of a stretch."""
    middles = first + (np.arange(count) + 0.5) * (last - first) / count
    return np.floor(middles).astype(np.int64)
