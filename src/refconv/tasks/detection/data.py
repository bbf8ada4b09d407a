"""Images and the objects in them, in batches: what detectors train and are judged on."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.ops import box_area
from torchvision.transforms import v2

from refconv.data.augmentation import Augmentation
from refconv.data.dataset import Batch, Data, DataInfo, Drawn, Split, Targets, as_they_are
from refconv.data.images import decode
from refconv.data.loading import load_batches
from refconv.data.scenes import scenes_folder
from refconv.data.splits import Parts, index_of
from refconv.errors import DataError
from refconv.paths import path_of
from refconv.process.randomness import derive_seed, seeded
from refconv.tasks.detection.annotations import Annotations
from refconv.tasks.detection.layouts import coco_annotations, voc_annotations
from refconv.tasks.image_data import divided

LARGEST_DEFAULT = 640  #: Images are not made larger than this by default, in pixels
_FORMS = ("scenes", "coco", "voc")
_LEAST_SIDE = 1.0  # pixels; what a crop leaves less of is left out


class DetectionData(Data):
    """Images with objects, read from files, augmented together with their boxes and masks.

    Samples are a list of images, float32 [3, H, W] with values in [0, 1], of their own sizes. Targets are a list of
    dictionaries, one per image, in the words of torchvision's detectors:

    * ``boxes``: float32 [objects, 4], x0, y0, x1, y1 in pixels; ``labels``: int64 [objects], from 1 on;
    * ``masks``: uint8 [objects, H, W], if asked for; ``runs``: the same as compressed runs, in evaluation;
    * ``area``: float32 [objects], in pixels, as annotated (after a crop: what is left, in proportion to the box);
    * ``iscrowd``, ``difficult``: int64 [objects], 1 for COCO's crowds and VOC's difficult objects, which training
      leaves out;
    * ``image_id``: int64, the number of the image in its annotations.

    ``img_size`` is the size at which a detector is to look at images; by default the longest side of a training image,
    at most 640. Images come as they are: resizing them, and putting boxes back, is the model's work.
    """

    def __init__(
        self,
        name: str,
        *,
        root: str | None = None,
        val_split: float = 0.0,
        augmentation: Augmentation | None = None,
        workers: int = 0,
        img_size: int | None = None,
        masks: bool = False,
    ) -> None:
        parts = _open_annotations(name, root, val_split=val_split, masks=masks)
        side = img_size or min(LARGEST_DEFAULT, int(parts.train.sizes.max()))
        self._annotations, indices = divided(parts, val_split, name=name)
        if not len(parts.train.labels):
            raise DataError("no objects to train on", where=name, expected="at least one box")
        preprocessing = as_they_are("detection", (3, side, side))
        super().__init__(DataInfo.of(name, parts.train.class_names, preprocessing, indices), indices, preprocessing)
        self._augment = Augment(augmentation or Augmentation())
        self._workers = workers

    @property
    def has_masks(self) -> bool:
        """Whether targets hold masks."""
        return self._annotations["train"].segments is not None

    @property
    def is_voc(self) -> bool:
        """Whether the data is in Pascal VOC's layout, and so judged by VOC's own average precision too."""
        return self.info.name.startswith("voc:")

    def _relabelled(self, targets: Targets, outputs: Tensor) -> Targets:
        return [{**target, "labels": outputs[target["labels"] - 1] + 1} for target in targets]

    def _load(self, split: Split, batches: list[Tensor], drawn: Drawn) -> Iterator[Batch]:
        samples = _Samples(self._annotations[split], self._augment, drawn)
        return load_batches(samples, batches, workers=self._workers, collate=_collated)


def _open_annotations(name: str, root: str | None, *, val_split: float, masks: bool) -> Parts[Annotations]:
    form, _, path = name.partition(":")
    if form not in _FORMS or (form != "scenes" and not path):
        remedy = f"write coco:{name} or voc:{name} to read that folder" if path_of(root, name).is_dir() else None
        expected = "scenes, coco:FOLDER or voc:FOLDER"
        raise DataError("no data for detection", where=name, expected=expected, remedy=remedy)
    if form == "voc":
        return voc_annotations(path_of(root, path), val_split=val_split, masks=masks)
    folder = scenes_folder(name, root) if form == "scenes" else path_of(root, path)
    return coco_annotations(folder, val_split=val_split, masks=masks)


_Sample = tuple[Tensor, dict[str, Any]]


class Augment:
    """What is done to an image and its objects together: flips, colours, and a crop where there is a ``scale``.

    The task refuses recipes that ask for more.
    """

    def __init__(self, settings: Augmentation) -> None:
        self._settings = settings

    def __call__(self, image: Tensor, objects: dict[str, Tensor]) -> _Sample:
        """Change an image, uint8 [3, H, W], and its objects, drawing from torch's generator."""
        height, width = image.shape[-2:]
        before = objects["boxes"]
        boxes = tv_tensors.BoundingBoxes(before, format="XYXY", canvas_size=(height, width))
        changed: dict[str, Any] = {"image": tv_tensors.Image(image), "boxes": boxes}
        if "masks" in objects:
            changed["masks"] = tv_tensors.Mask(objects["masks"])
        for transform in self._transforms(height, width, before):
            changed = transform(changed)
        boxes = changed["boxes"].as_subclass(Tensor)
        height, width = changed["image"].shape[-2:]
        boxes = boxes.clamp(min=0).minimum(torch.tensor([width, height, width, height]))
        # What was narrower than that from the start is kept; flipping rounds.
        least = 0.99 * (before[:, 2:] - before[:, :2]).clamp(max=_LEAST_SIDE)
        kept = (boxes[:, 2:] - boxes[:, :2] >= least).all(1)
        result = {
            "boxes": boxes,
            "labels": objects["labels"],
            "area": objects["area"] * box_area(boxes) / box_area(before),
        }
        if "masks" in objects:
            result["masks"] = changed["masks"].as_subclass(Tensor)
            kept &= (result["masks"] > 0).flatten(1).any(1)
        return changed["image"].as_subclass(Tensor), {key: value[kept] for key, value in result.items()}

    def _transforms(self, height: int, width: int, boxes: Tensor) -> list[v2.Transform]:
        chosen: list[v2.Transform] = []
        settings = self._settings
        if settings.color_jitter:
            chosen.append(v2.ColorJitter(*[settings.color_jitter] * 3))
        if settings.scale:
            low, high = map(math.sqrt, settings.scale)
            overlaps = possible_overlaps(boxes, int(width * low) * int(height * low))
            ratio = settings.ratio or _SHAPES
            if overlaps:
                chosen.append(v2.RandomIoUCrop(low, high, *ratio, sampler_options=[*overlaps, _WHOLE]))
        if settings.hflip:
            chosen.append(v2.RandomHorizontalFlip(settings.hflip))
        if settings.vflip:
            chosen.append(v2.RandomVerticalFlip(settings.vflip))
        return chosen


_SHAPES = (0.5, 2.0)  # of SSD's crop: from half to twice as wide as high
_OVERLAPS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
_WHOLE = 1.0  # RandomIoUCrop's word for no crop


def possible_overlaps(boxes: Tensor, least_area: int) -> list[float]:
    """Return which of SSD's least overlaps of a crop with a box [objects, 4] can come about; none in a tiny image.

    RandomIoUCrop would try each of the others forty times in vain; leaving them out changes no probability.
    """
    if not len(boxes) or not least_area:
        return []
    largest = float(box_area(boxes).max())
    # A crop around the whole box overlaps with it by box / crop; a crop within it can be as large as wanted.
    return [overlap for overlap in _OVERLAPS if largest >= overlap * least_area]


@dataclasses.dataclass(frozen=True)
class _Samples:
    """What a worker process gets: it makes sample ``index``. Training leaves out what is not to be judged."""

    annotations: Annotations
    augment: Augment
    drawn: Drawn

    def __getitem__(self, number: int) -> _Sample:
        annotations, index = self.annotations, index_of(number)
        image = self._image(index)
        rows = annotations.rows(index)
        ignored = annotations.crowd[rows.start : rows.stop] | annotations.difficult[rows.start : rows.stop]
        chosen = [row for row, out in zip(rows, ignored.tolist(), strict=True) if not (out and self.drawn)]
        rows_of = {"boxes": annotations.boxes, "labels": annotations.labels, "area": annotations.areas}
        objects = {name: values[chosen] for name, values in rows_of.items()}
        runs: dict[str, Any] = {}
        if annotations.segments is not None:
            masks = annotations.masks(index, chosen)
            objects["masks"] = masks.to(torch.uint8)
            if not self.drawn:
                runs = {"runs": annotations.runs(chosen, masks)}
        if self.drawn:
            with seeded(derive_seed("augmentation", *self.drawn, number)):
                image, objects = self.augment(image, objects)
            objects |= dict.fromkeys(("iscrowd", "difficult"), torch.zeros(len(objects["labels"]), dtype=torch.int64))
        else:
            objects |= {"iscrowd": annotations.crowd[chosen].long(), "difficult": annotations.difficult[chosen].long()}
        return image.float() / 255, {**objects, **runs, "image_id": annotations.image_ids[index]}

    def _image(self, index: int) -> Tensor:
        """Read one image, uint8 [3, H, W].

        Boxes refer to the upright image, as annotation tools do, unless only the stored one has the annotated size.
        """
        annotations = self.annotations
        where, (height, width) = annotations.paths[index], annotations.sizes[index].tolist()
        image = decode(where)
        if image.size != (width, height):
            found = image.size
            image = decode(where, upright=False)
            if image.size != (width, height):
                what, expected = "image of another size than its annotations say", f"{width} x {height} pixels"
                remedy = "annotate the image again, or replace it by the right one"
                raise DataError(what, where=where, expected=expected, found=f"{found[0]} x {found[1]}", remedy=remedy)
        pixels: Tensor = v2.functional.pil_to_tensor(image.convert("RGB"))
        return pixels


def _collated(samples: list[_Sample]) -> Batch:
    return [image for image, _ in samples], [target for _, target in samples]
