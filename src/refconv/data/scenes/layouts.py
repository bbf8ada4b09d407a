"""Scenes in files, in three layouts at once: COCO, semantic masks, Pascal VOC.

::

    scenes.json                          what was made: a ScenesRecord
    classes.txt                          one name a line, in the order of the numbers in masks; background first
    images/train/train_000000.png        the scenes
    annotations/instances_train.json     COCO: boxes, and masks as runs
    masks/train/train_000000.png         semantic masks: the number of each pixel's class, with VOC's colours
    voc/JPEGImages/train_000000.png      Pascal VOC; images and class masks are the same files as above
    voc/SegmentationClass, voc/SegmentationObject, voc/Annotations
    voc/ImageSets/Main/train.txt         the same in ImageSets/Segmentation; voc/classes.txt as above

and so on for ``val`` and ``test``.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refconv.data.rle import encoded
from refconv.data.scenes.composition import Scene

_VOC_FOLDERS = ("JPEGImages", "Annotations", "SegmentationClass", "SegmentationObject")
_VOC_SETS = ("ImageSets/Main", "ImageSets/Segmentation")


class SplitWriter:
    """Writes the scenes of one split; background is not among the names of classes."""

    def __init__(self, folder: Path, split: str, class_names: Sequence[str]) -> None:
        self._folder, self._split, self._class_names = folder, split, class_names
        self._names: list[str] = []
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        voc = (f"voc/{name}" for name in _VOC_FOLDERS + _VOC_SETS)
        for name in (f"images/{split}", f"masks/{split}", "annotations", *voc):
            (folder / name).mkdir(parents=True, exist_ok=True)

    def add(self, scene: Scene) -> None:
        """Write the files of one scene, and keep what goes into the files of the split."""
        name = f"{self._split}_{len(self._names):06}"
        self._names.append(name)
        image, mask = self._folder / "images" / self._split / f"{name}.png", f"{self._split}/{name}.png"
        voc = self._folder / "voc"
        Image.fromarray(scene.image).save(image)
        _save_indexed(scene.classes, self._folder / "masks" / mask)
        _save_indexed(scene.objects, voc / "SegmentationObject" / f"{name}.png")
        _same_file(image, voc / "JPEGImages" / f"{name}.png")
        _same_file(self._folder / "masks" / mask, voc / "SegmentationClass" / f"{name}.png")
        text = _voc_xml(scene, f"{name}.png", self._class_names)
        (voc / "Annotations" / f"{name}.xml").write_text(text, encoding="utf-8")
        height, width = scene.classes.shape
        number = len(self._names)
        self._images.append({"id": number, "file_name": f"{name}.png", "width": width, "height": height})
        for instance in scene.instances:
            x0, y0, x1, y1 = instance.box
            ids = {"id": len(self._annotations) + 1, "image_id": number, "category_id": instance.label}
            seen = {"bbox": [x0, y0, x1 - x0, y1 - y0], "area": instance.area, "iscrowd": 0}
            runs = {"size": [height, width], "counts": encoded(instance.mask)}
            self._annotations.append({**ids, **seen, "segmentation": runs})

    def close(self) -> None:
        """Write the files of the split."""
        numbered = enumerate(self._class_names, 1)
        content = {
            "info": {"description": "scenes composed by refconv data scenes; scenes.json says how"},
            "licenses": [],
            "categories": [{"id": label, "name": name, "supercategory": "item"} for label, name in numbered],
            "images": self._images,
            "annotations": self._annotations,
        }
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False)
        file = self._folder / "annotations" / f"instances_{self._split}.json"
        file.write_text(text + "\n", encoding="utf-8")
        for listed in _VOC_SETS:
            names = "".join(f"{name}\n" for name in self._names)
            (self._folder / "voc" / listed / f"{self._split}.txt").write_text(names, encoding="utf-8")


def voc_palette() -> list[int]:
    """Return Pascal VOC's colours, 256 times red, green and blue: the bits of a number, spread over the three.

    Example:
        >>> voc_palette()[:12]
        [0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0]
    """
    numbers = np.arange(256)
    colours = np.zeros((256, 3), dtype=np.int64)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (numbers >> (3 * bit + channel) & 1) << (7 - bit)
    listed: list[int] = colours.ravel().tolist()
    return listed


_PALETTE = voc_palette()


def _save_indexed(numbers: NDArray[np.uint8], file: Path) -> None:
    picture = Image.fromarray(numbers)
    picture.putpalette(_PALETTE)
    picture.save(file)


def _same_file(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the disk cannot do that."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _voc_xml(scene: Scene, file_name: str, class_names: Sequence[str]) -> str:
    """Return VOC's annotation of one scene; its boxes count pixels from 1, and the last one is inside."""
    height, width = scene.classes.shape
    root = ElementTree.Element("annotation")
    _leaves(root, folder="voc", filename=file_name)
    _leaves(ElementTree.SubElement(root, "size"), width=width, height=height, depth=3)
    _leaves(root, segmented=1)
    for instance in scene.instances:
        thing = ElementTree.SubElement(root, "object")
        _leaves(thing, name=class_names[instance.label - 1], pose="Unspecified", truncated=int(instance.truncated))
        _leaves(thing, occluded=int(instance.occluded), difficult=0)
        x0, y0, x1, y1 = instance.box
        _leaves(ElementTree.SubElement(thing, "bndbox"), xmin=x0 + 1, ymin=y0 + 1, xmax=x1, ymax=y1)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _leaves(parent: ElementTree.Element, **texts: object) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)
