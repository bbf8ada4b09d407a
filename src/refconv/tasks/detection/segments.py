"""Masks of single objects as annotations write them: polygons, runs of pixels, or a number in a picture."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from refconv.data import rle
from refconv.data.images import open_image
from refconv.errors import DataError

_REACH = 10  # sides of the image


def decoded(segment: str, height: int, width: int, *, where: str) -> NDArray[np.bool_]:
    """Return the mask [H, W] of one object.

    Args:
        segment: as JSON, one of COCO's forms (a list of polygons, each [x0, y0, x1, y1, ...] in pixels; runs
            ``{"size": [H, W], "counts": numbers or compressed text}``), or
            ``{"file": picture with a number per pixel, "value": the object's number}``.
        height: of the image.
        width: of the image.
        where: the annotation, for the error message.

    Raises:
        DataError: if it is malformed, or of another size than the image.

    Example:
        >>> decoded('{"size": [2, 3], "counts": [2, 2, 2]}', 2, 3, where="here").astype(int)
        array([[0, 1, 0],
               [0, 1, 0]])
    """
    form: Any = json.loads(segment)
    try:
        if isinstance(form, list):
            return _polygons(form, height, width)
        if isinstance(form, dict) and "file" in form:
            return _numbered(form["file"], form["value"], height, width)
        return _runs(form, height, width)
    # ValueError and TypeError: also what NumPy raises for lists that hold no numbers.
    except (ValueError, TypeError, RuntimeError, OSError, SyntaxError) as error:
        raise DataError(
            "unreadable mask",
            where=where,
            expected="polygons, or runs that fill the image",
            found=str(error),
            remedy="repair or remove the annotation",
        ) from error


def coco_masks() -> Any:
    """Return faster-coco-eval's functions for masks.

    Raises:
        DataError: if it is not installed.
    """
    try:
        from faster_coco_eval import mask
    except ImportError as error:
        raise DataError(
            "needs a package that is not installed",
            where="masks as polygons or compressed runs",
            expected="faster-coco-eval",
            remedy='pip install "refconv[tasks]"',
        ) from error
    return mask


def _polygons(polygons: Sequence[Any], height: int, width: int) -> NDArray[np.bool_]:
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} numbers")
        # Written so that NaN is refused too; filling a polygon takes memory in proportion to its outline.
        if not (np.abs(np.asarray(polygon, dtype=np.float64)) <= _REACH * max(height, width)).all():
            raise ValueError("a polygon far beyond the image")
    if not polygons:
        raise ValueError("no polygon")
    mask = coco_masks()
    return _unpacked(mask, mask.merge(mask.frPyObjects([*polygons], height, width)))


def _runs(form: Any, height: int, width: int) -> NDArray[np.bool_]:
    if not (isinstance(form, dict) and {"size", "counts"} <= form.keys()):
        raise ValueError("neither polygons nor runs")
    if [*form["size"]] != [height, width]:
        raise ValueError(f"a mask of {form['size']} for an image of [{height}, {width}]")
    if isinstance(form["counts"], str):
        return _unpacked(coco_masks(), form)
    return rle.decoded(form["counts"], height, width)


def _unpacked(mask: Any, runs: dict[str, Any]) -> NDArray[np.bool_]:
    unpacked: NDArray[np.bool_] = np.asarray(mask.decode(runs)).astype(bool)
    return unpacked


def _numbered(file: str, value: int, height: int, width: int) -> NDArray[np.bool_]:
    with open_image(file) as picture:
        numbers = np.asarray(picture)
    if numbers.shape != (height, width):
        raise ValueError(f"{file} is of {[*numbers.shape]}, the image of [{height}, {width}]")
    mask: NDArray[np.bool_] = numbers == value
    return mask
