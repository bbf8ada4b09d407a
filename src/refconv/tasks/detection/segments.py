"""Masks of single objects: encoded once, when annotations are read, and kept as text.

A mask is kept as the counts of COCO's compressed runs, or, for Pascal VOC, as the number of the object and the picture
that holds a number per pixel, with a space between (which compressed runs never have).
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from refconv.data import rle
from refconv.data.images import open_image
from refconv.errors import DataError

Runs = dict[str, Any]
"""A mask as compressed runs, as COCO's tools write them: ``size`` and ``counts``."""

_REACH = 10  # sides of the image


def coco_tools() -> Any:
    """Return the package faster-coco-eval."""
    try:
        return importlib.import_module("faster_coco_eval")
    except ImportError as error:
        raise DataError("detection needs faster-coco-eval", remedy='pip install "refconv[tasks]"') from error


def encoded(form: Any, height: int, width: int, *, where: str) -> str:
    """Return the mask of an object in COCO's annotations as the counts of its compressed runs.

    ``form`` is a list of polygons, each [x0, y0, x1, y1, ...] in pixels, or runs ``{"size": [H, W], "counts": ...}``
    with numbers or compressed text; ``where`` names the annotation in errors.
    """
    tools = coco_tools().mask
    with _reading(where):
        if isinstance(form, list):
            _check_polygons(form, height, width)
            return _text(tools.merge(tools.frPyObjects([*form], height, width)))
        if not (isinstance(form, dict) and {"size", "counts"} <= form.keys()):
            raise ValueError("neither polygons nor runs")
        if [*form["size"]] != [height, width]:
            raise ValueError(f"a mask of {form['size']} for an image of [{height}, {width}]")
        if isinstance(form["counts"], str):
            tools.area(form)  # refuses counts that are cut off
            return str(form["counts"])
        return _text(_packed(rle.decoded(form["counts"], height, width)))


def numbered(file: str, value: int) -> str:
    """Return the mask of the object with this number in a picture that holds a number per pixel."""
    return f"{value} {file}"


def decoded(segment: str, height: int, width: int, *, where: str) -> NDArray[np.bool_]:
    """Return a mask [H, W] that :func:`encoded` or :func:`numbered` made."""
    value, is_numbered, file = segment.partition(" ")
    with _reading(where):
        if not is_numbered:
            return np.asarray(coco_tools().mask.decode(_runs(segment, height, width))).astype(bool)
        with open_image(file) as picture:
            numbers = np.asarray(picture)
        if numbers.shape != (height, width):
            raise ValueError(f"{file} is of {[*numbers.shape]}, the image of [{height}, {width}]")
        mask: NDArray[np.bool_] = numbers == int(value)
        return mask


def runs_of(segment: str, mask: NDArray[np.bool_]) -> Runs:
    """Return a mask [H, W], kept as the text ``segment``, as compressed runs."""
    return _packed(mask) if " " in segment else _runs(segment, *mask.shape)


def runs(masks: Tensor) -> tuple[Runs, ...]:
    """Return masks, bool [n, H, W], as compressed runs."""
    return tuple(_packed(plane) for plane in masks.cpu().numpy())


def _runs(counts: str, height: int, width: int) -> Runs:
    return {"size": [height, width], "counts": counts}


def _packed(mask: NDArray[np.bool_]) -> Runs:
    packed: Runs = coco_tools().mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return packed


def _text(packed: Runs) -> str:
    counts = packed["counts"]
    return counts.decode("ascii") if isinstance(counts, bytes) else str(counts)


def _check_polygons(polygons: list[Any], height: int, width: int) -> None:
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"a polygon of {len(polygon)} numbers")
        # Written so that NaN is refused too; filling a polygon takes memory in proportion to its outline.
        if not (np.abs(np.asarray(polygon, dtype=np.float64)) <= _REACH * max(height, width)).all():
            raise ValueError("a polygon far beyond the image")
    if not polygons:
        raise ValueError("no polygon")


@contextmanager
def _reading(where: str) -> Iterator[None]:
    """Turn what is raised about a malformed mask into one line that names the annotation."""
    try:
        yield
    except DataError:
        raise
    # ValueError and TypeError: also what NumPy raises for lists that hold no numbers.
    except (ValueError, TypeError, RuntimeError, OSError, SyntaxError) as error:
        expected, remedy = "polygons, or runs that fill the image", "repair or remove the annotation"
        raise DataError("unreadable mask", where=where, expected=expected, found=str(error), remedy=remedy) from error
