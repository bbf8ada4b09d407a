"""Images with the boxes and classes of the objects in them, whatever layout they were read from."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from refconv.data.images import PathTable
from refconv.errors import DataError, RefconvWarning
from refconv.tasks.detection.segments import Runs, decoded, runs_of

_TOLERANCE = 1.0  # pixels; boxes that reach less beyond their image are clipped without a word


@dataclasses.dataclass(frozen=True)
class Thing:
    """One object, as a reader found it.

    Attributes:
        box: x0, y0, x1, y1 in pixels from the image's upper left corner.
        label: its class, from 1 on.
        area: in pixels, of its mask or its box.
        crowd: whether it is a group of objects under one box.
        difficult: whether a detector need not find it.
        segment: its mask as text (see :mod:`refconv.tasks.detection.segments`); empty if it was not asked for.
        where: what the file calls it.
    """

    box: tuple[float, float, float, float]
    label: int
    area: float
    crowd: bool = False
    difficult: bool = False
    segment: str = ""
    where: str = ""


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image and what is in it, as a reader found it.

    Attributes:
        path: the file.
        id: the image's number in the annotations.
        height: in pixels, as the annotations say.
        width: in pixels, as the annotations say.
        things: the objects.
    """

    path: str
    id: int
    height: int
    width: int
    things: Sequence[Thing]


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The annotated images of one split; tensors all through, which worker processes share.

    The objects of image ``i`` are the rows ``first[i]`` up to ``first[i + 1]`` of what has a row per object.

    Attributes:
        paths: the files of the images.
        sizes: height and width of each image, int64 [images, 2].
        image_ids: the numbers of the images in the annotations, int64 [images].
        first: int64 [images + 1].
        boxes: x0, y0, x1, y1 in pixels, inside the image, float32 [objects, 4].
        labels: from 1 on, int64 [objects].
        areas: in pixels, float32 [objects].
        crowd: bool [objects].
        difficult: bool [objects].
        segments: the masks as text, one per object; None if they were not asked for.
        places: what the file calls each object.
        class_names: the names of the labels 1, 2, ...
        category_ids: the numbers of the labels 1, 2, ... in the annotations.
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
        """Return the masks of objects of one image, bool [objects, H, W].

        Args:
            index: the image.
            rows: which of its objects.

        Raises:
            DataError: if one is malformed.
        """
        assert self.segments is not None, "masks were not asked for"
        height, width = self.sizes[index].tolist()
        masks = np.zeros((len(rows), height, width), dtype=bool)
        for mask, row in zip(masks, rows, strict=True):
            where = f"{self.paths[index]}: {self.places[row]}"
            mask[:] = decoded(self.segments[row], height, width, where=where)
        return torch.from_numpy(masks)

    def runs(self, rows: Sequence[int], masks: Tensor) -> tuple[Runs, ...]:
        """Return masks of objects as compressed runs, as the annotations have them if they do.

        Args:
            rows: which objects.
            masks: their masks, bool [objects, H, W].
        """
        assert self.segments is not None, "masks were not asked for"
        return tuple(runs_of(self.segments[row], mask) for row, mask in zip(rows, masks.numpy(), strict=True))


def gathered(
    pictures: Sequence[Picture],
    *,
    where: str,
    class_names: Sequence[str],
    category_ids: Sequence[int],
    masks: bool,
) -> Annotations:
    """Put what a reader found into tensors, its boxes clipped to the images.

    Boxes that reach beyond their image are clipped; those without area or wholly outside are left out. One
    warning says how many there were.

    Args:
        pictures: the images.
        where: the file or folder they are annotated in, for messages.
        class_names: one name per class.
        category_ids: the number of each class in the file.
        masks: whether to keep the masks.

    Raises:
        DataError: if there is no image, or most boxes lie outside their images.
    """
    if not pictures:
        raise DataError("no images", where=where, expected="at least one")
    things = [thing for picture in pictures for thing in picture.things]
    counts = torch.tensor([len(picture.things) for picture in pictures])
    sizes = torch.tensor([(picture.height, picture.width) for picture in pictures])
    boxes = torch.tensor([thing.box for thing in things], dtype=torch.float64).reshape(-1, 4)
    ends = sizes.flip(1).repeat_interleave(counts, 0).repeat(1, 2)
    clipped = boxes.clamp(min=0).minimum(ends)
    kept = _with_area(clipped)
    _report(where, boxes, clipped, [thing.where for thing in things])
    chosen = [thing for thing, keep in zip(things, kept.tolist(), strict=True) if keep]
    owners = torch.arange(len(pictures)).repeat_interleave(counts)[kept]
    return Annotations(
        paths=PathTable([picture.path for picture in pictures]),
        sizes=sizes,
        image_ids=torch.tensor([picture.id for picture in pictures]),
        first=torch.cat([torch.zeros(1, dtype=torch.int64), owners.bincount(minlength=len(pictures)).cumsum(0)]),
        boxes=clipped[kept].float(),
        labels=torch.tensor([thing.label for thing in chosen], dtype=torch.int64),
        areas=torch.tensor([thing.area for thing in chosen], dtype=torch.float32),
        crowd=torch.tensor([thing.crowd for thing in chosen], dtype=torch.bool),
        difficult=torch.tensor([thing.difficult for thing in chosen], dtype=torch.bool),
        segments=PathTable([thing.segment for thing in chosen]) if masks else None,
        places=PathTable([thing.where for thing in chosen]),
        class_names=tuple(class_names),
        category_ids=tuple(category_ids),
    )


def _with_area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])


def _report(where: str, boxes: Tensor, clipped: Tensor, places: Sequence[str]) -> None:
    """Say in one warning what is wrong with boxes.

    Raises:
        DataError: if most of them lie outside.
    """
    flat = ~_with_area(boxes)
    outside = ~flat & ~_with_area(clipped)
    beyond = ~flat & ~outside & ((boxes - clipped).abs() > _TOLERANCE).any(1)
    if 2 * int(outside.sum()) > len(boxes):
        raise DataError(
            "most boxes lie outside their images",
            where=where,
            expected="corner, width and height (COCO) or two corners (VOC) in pixels",
            found=f"{int(outside.sum()):,} of {len(boxes):,} boxes outside, the first: {_first(outside, places)}",
        )
    said = [
        f"{int(which.sum()):,} {text} (the first: {_first(which, places)})"
        for which, text in (
            (flat, "without area left out"),
            (outside, "wholly outside the image left out"),
            (beyond, "that reach beyond the image clipped"),
        )
        if which.any()
    ]
    if said:
        warnings.warn(f"{where}: of {len(boxes):,} boxes {', '.join(said)}", RefconvWarning, stacklevel=4)


def _first(which: Tensor, places: Sequence[str]) -> str:
    return places[int(which.nonzero()[0])]
