"""Images with the boxes, classes and masks of the objects in them, whatever layout they were read from.

A mask is encoded once and kept as text: as the counts of COCO's compressed runs, or, for Pascal VOC, as the number of
the object and the picture that holds a number per pixel, with a space between (which compressed runs never have).
"""

from __future__ import annotations

import dataclasses
import importlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from refconv.data import rle
from refconv.data.images import PathTable, open_image
from refconv.data.preprocessing import LONGEST
from refconv.errors import DataError, RefconvWarning, in_one_line
from refconv.tasks.image_data import missing

_TOLERANCE = 1.0  # pixels; boxes that reach less beyond their image are clipped without a word
_SPECK = 2  # pixels; only images of this side have no other boxes than those of a pixel
_UNITS = "corner, width and height (COCO) or two corners (VOC) in pixels"
Category = int | str  #: A class in a file: its number (COCO), or its name (Pascal VOC)


@dataclasses.dataclass(frozen=True)
class ObjectAnnotation:
    """One object, as a reader found it: its box (x0, y0, x1, y1 in pixels), its class, the area of its mask or box.

    A detector need not find ``difficult`` ones; a ``crowd`` is a group under one box. ``segment`` is the mask as text
    (see above), empty if not asked for; ``where`` is what the file calls the object.
    """

    box: tuple[float, float, float, float]
    category: Category
    area: float
    crowd: bool = False
    difficult: bool = False
    segment: str = ""
    where: str = ""


@dataclasses.dataclass(frozen=True)
class ImageAnnotation:
    """One image and its objects, as a reader found them; height and width in pixels, as the annotations say."""

    path: str
    id: int
    height: int
    width: int
    objects: Sequence[ObjectAnnotation]


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The annotated images of one split; tensors all through, which worker processes share.

    The objects of image ``i`` are the rows ``first[i]`` up to ``first[i + 1]`` of what has a row per object: boxes (x0,
    y0, x1, y1 in pixels, inside the image, float32 [objects, 4]), labels (from 1 on), areas in pixels, masks as text
    (None if not asked for), and what the file calls each object. ``sizes`` are heights and widths, int64 [images, 2];
    ``category_ids`` are the numbers of the labels in the annotations.
    """

    paths: PathTable
    sizes: Tensor
    image_ids: Tensor
    first: Tensor
    boxes: Tensor
    labels: Tensor
    areas: Tensor
    crowd: Tensor
    difficult: Tensor
    segments: PathTable | None
    places: PathTable
    class_names: tuple[str, ...]
    category_ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def rows(self, index: int) -> range:
        """Return the rows of the objects in one image."""
        return range(int(self.first[index]), int(self.first[index + 1]))

    def masks(self, index: int, rows: Sequence[int]) -> Tensor:
        """Return the masks of some objects of one image, bool [objects, H, W]."""
        assert self.segments is not None, "masks were not asked for"
        height, width = self.sizes[index].tolist()
        masks = np.zeros((len(rows), height, width), dtype=bool)
        for mask, row in zip(masks, rows, strict=True):
            mask[:] = decoded(self.segments[row], height, width, where=f"{self.paths[index]}: {self.places[row]}")
        return torch.from_numpy(masks)

    def runs(self, rows: Sequence[int], masks: Tensor) -> tuple[Runs, ...]:
        """Return masks of objects, bool [objects, H, W], as compressed runs."""
        assert self.segments is not None, "masks were not asked for"
        return tuple(runs_of(self.segments[row], mask) for row, mask in zip(rows, masks.numpy(), strict=True))


def gathered(
    images: Sequence[ImageAnnotation], *, where: str, class_names: Mapping[Category, str], masks: bool
) -> Annotations:
    """Put annotations into tensors; ``class_names`` has the name of each category in the order of the labels.

    Boxes that reach beyond their image are clipped; those without area or wholly outside are left out. One warning says
    how many there were. If most lie outside, or none has a side above a pixel, the annotations are refused.
    """
    if not images:
        raise missing("folder", "no images", where=where, expected="at least one")
    objects = [entry for image in images for entry in image.objects]
    counts = torch.tensor([len(image.objects) for image in images])
    large = next((image for image in images if not 0 < image.height <= LONGEST or not 0 < image.width <= LONGEST), None)
    if large is not None:
        found, expected = f"{large.width} x {large.height}", f"1 to {LONGEST} pixels"
        raise DataError("no size of an image", where=f"{where}: {large.path}", expected=expected, found=found)
    sizes = torch.tensor([(image.height, image.width) for image in images])
    boxes = torch.tensor([entry.box for entry in objects], dtype=torch.float64).reshape(-1, 4)
    ends = sizes.flip(1).repeat_interleave(counts, 0).repeat(1, 2)
    clipped = boxes.clamp(min=0).minimum(ends)
    kept = _with_area(clipped)
    _check_units(where, clipped, sizes)
    _report(where, boxes, clipped, [entry.where for entry in objects])
    chosen = [entry for entry, keep in zip(objects, kept.tolist(), strict=True) if keep]
    labels = {category: label for label, category in enumerate(class_names, 1)}
    owners = torch.arange(len(images)).repeat_interleave(counts)[kept]
    return Annotations(
        paths=PathTable([image.path for image in images]),
        sizes=sizes,
        image_ids=torch.tensor([image.id for image in images]),
        first=torch.cat([torch.zeros(1, dtype=torch.int64), owners.bincount(minlength=len(images)).cumsum(0)]),
        boxes=clipped[kept].float(),
        labels=torch.tensor([labels[entry.category] for entry in chosen], dtype=torch.int64),
        areas=torch.tensor([entry.area for entry in chosen], dtype=torch.float32),
        crowd=torch.tensor([entry.crowd for entry in chosen], dtype=torch.bool),
        difficult=torch.tensor([entry.difficult for entry in chosen], dtype=torch.bool),
        segments=PathTable([entry.segment for entry in chosen]) if masks else None,
        places=PathTable([entry.where for entry in chosen]),
        class_names=tuple(class_names.values()),
        category_ids=tuple(labels[key] if isinstance(key, str) else key for key in class_names),
    )


def _with_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _check_units(where: str, boxes: Tensor, sizes: Tensor) -> None:
    """Refuse boxes that are shares of their images: they train as specks in the first corner, and nothing is found."""
    within = bool((boxes[:, :2] <= 1).all()) and bool((boxes[:, 2:] - boxes[:, :2] <= 1).all())
    if within and _with_area(boxes).any() and (sizes > _SPECK).any():
        height, width = sizes[sizes.prod(1).argmax()].tolist()
        found = f"no side above 1 pixel among {len(boxes):,} boxes, in images of up to {width} x {height}"
        remedy = "multiply x and width by the image's width, y and height by its height"
        raise DataError("the boxes look normalised", where=where, expected=_UNITS, found=found, remedy=remedy)


def _report(where: str, boxes: Tensor, clipped: Tensor, places: Sequence[str]) -> None:
    """Warn once about boxes that are left out or clipped; refuse them if most lie outside."""
    flat = ~_with_area(boxes)
    outside = ~flat & ~_with_area(clipped)
    beyond = ~flat & ~outside & ((boxes - clipped).abs() > _TOLERANCE).any(1)
    if 2 * int(outside.sum()) > len(boxes):
        found = f"{int(outside.sum()):,} of {len(boxes):,} boxes outside, the first: {_first(outside, places)}"
        raise DataError("most boxes lie outside their images", where=where, expected=_UNITS, found=found)
    said = ("without area left out", "wholly outside the image left out", "that reach beyond the image clipped")
    kinds = zip(said, (flat, outside, beyond), strict=True)
    parts = [f"{int(n.sum()):,} {text} (the first: {_first(n, places)})" for text, n in kinds if n.any()]
    if parts:
        warnings.warn(f"{where}: of {len(boxes):,} boxes {', '.join(parts)}", RefconvWarning, stacklevel=4)


def _first(which: Tensor, places: Sequence[str]) -> str:
    return places[int(which.nonzero()[0])]


Runs = dict[str, Any]  #: A mask as compressed runs, as COCO's tools write them: ``size`` and ``counts``
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


def decoded(segment: str, height: int, width: int, *, where: str) -> NDArray[np.bool_]:
    """Return a mask [H, W] that is kept as text."""
    value, is_numbered, file = segment.partition(" ")
    with _reading(where):
        if not is_numbered:
            return np.asarray(coco_tools().mask.decode({"size": [height, width], "counts": segment})).astype(bool)
        with open_image(file) as picture:
            numbers = np.asarray(picture)
        if numbers.shape != (height, width):
            raise ValueError(f"{file} is of {[*numbers.shape]}, the image of [{height}, {width}]")
        mask: NDArray[np.bool_] = numbers == int(value)
        return mask


def runs_of(segment: str, mask: NDArray[np.bool_]) -> Runs:
    """Return a mask [H, W], kept as the text ``segment``, as compressed runs."""
    return _packed(mask) if " " in segment else {"size": [*mask.shape], "counts": segment}


def runs(masks: Tensor) -> tuple[Runs, ...]:
    """Return masks, bool [n, H, W], as compressed runs."""
    return tuple(_packed(plane) for plane in masks.cpu().numpy())


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
    expected, remedy = "polygons, or runs that fill the image", "repair or remove the annotation"
    with in_one_line(DataError, "unreadable mask", where=where, expected=expected, remedy=remedy):
        yield
