"""Objects in Pascal VOC's layout: one xml per image, and lists of the images of a split (Everingham et al. 2010)."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from refconv.data.folder import EXTENSIONS
from refconv.data.images import sizes_of
from refconv.data.splits import Parts, held_out
from refconv.errors import DataError
from refconv.tasks.detection.annotations import Annotations, Picture, Thing, gathered
from refconv.tasks.detection.segments import numbered

CLASSES_FILE = "classes.txt"


def voc_annotations(folder: Path, *, val_split: float = 0.0, masks: bool = False) -> Parts[Annotations]:
    """Read the splits of a folder.

    Classes are numbered in the order of ``classes.txt``, if there is one (a first line ``background`` does not
    count), else in the order of their names, as VOC's twenty are.

    Args:
        folder: the folder that holds ``Annotations``, or VOCdevkit above it.
        val_split: share of the training images to be validated on (see
            :func:`refconv.data.splits.held_out`).
        masks: whether to read masks: the splits are then those of ``ImageSets/Segmentation``, and the mask of an
            object is its number in ``SegmentationObject``.

    Raises:
        DataError: if something is missing, damaged, or contradicts itself.
    """
    home = voc_home(folder)
    kind = "Segmentation" if masks else "Main"
    lists = {file.stem: file for file in sorted((home / "ImageSets" / kind).glob("*.txt"))}
    train = next((name for name in ("train", "trainval") if name in lists), None)
    if train is None:
        raise DataError(
            "nothing to train on",
            where=str(home / "ImageSets" / kind),
            expected="train.txt or trainval.txt",
            found=", ".join(file.name for file in lists.values()) or "no lists",
        )
    # The images of val are among those of trainval.
    names = [name for name in (train, "val", "test") if name in lists and (name, train) != ("val", "trainval")]
    val, test = held_out(names, where=f"voc:{folder}", val_split=val_split)
    read = {name: _read_list(home, lists[name], masks=masks) for name in (train, val, test) if name is not None}
    classes = _classes(home, [image for images in read.values() for image in images])
    parts = {name: _gathered(lists[name], images, classes, masks=masks) for name, images in read.items()}
    return Parts(train=parts[train], val=None if val is None else parts[val], test=parts[test])


def voc_home(folder: Path) -> Path:
    """Return the folder that holds ``Annotations`` and ``ImageSets``: this one, or one below it, as in VOCdevkit.

    Raises:
        DataError: if there is none, or several.
    """
    if not folder.is_dir():
        raise DataError("no such folder", where=f"voc:{folder}")
    if (folder / "ImageSets").is_dir():
        return folder
    homes = sorted({*(path.parent for pattern in ("*", "VOCdevkit/*") for path in folder.glob(f"{pattern}/ImageSets"))})
    if len(homes) != 1:
        raise DataError(
            "no VOC folder" if not homes else "several VOC folders",
            where=f"voc:{folder}",
            expected="one folder with Annotations, ImageSets and JPEGImages",
            found=", ".join(str(home.relative_to(folder)) for home in homes) or "none",
            remedy=f"give one of them, such as voc:{homes[0]}" if homes else None,
        )
    return homes[0]


@dataclasses.dataclass(frozen=True)
class _Object:
    name: str
    box: tuple[float, float, float, float]
    difficult: bool


@dataclasses.dataclass(frozen=True)
class _Image:
    xml: Path
    path: str
    height: int
    width: int
    segments: str | None
    objects: tuple[_Object, ...]


def _read_list(home: Path, file: Path, *, masks: bool) -> list[_Image]:
    # Some lists say a second thing about each image.
    names = [line.split()[0] for line in _lines(file) if line.strip()]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError("names an image twice", where=str(file), found=twice)
    return [_read_xml(home, name, file, masks=masks) for name in names]


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise DataError("cannot be read", where=str(file), found=str(error)) from error


def _read_xml(home: Path, name: str, listed: Path, *, masks: bool) -> _Image:
    xml = home / "Annotations" / f"{name}.xml"
    try:
        root = ElementTree.parse(xml).getroot()
    except FileNotFoundError as error:
        raise DataError(
            "names an image without annotation", where=str(listed), expected=str(xml), found="no such file"
        ) from error
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError("damaged xml", where=str(xml), found=str(error), remedy="fetch the file again") from error
    path = _image_file(home, xml, root, name)
    try:
        height, width = (round(float(root.findtext(f"size/{side}", "0"))) for side in ("height", "width"))
    except (ValueError, OverflowError) as error:
        raise DataError("impossible size", where=str(xml), found=str(error)) from error
    if height <= 0 or width <= 0:
        width, height = sizes_of(path)[0]
    segments = home / "SegmentationObject" / f"{name}.png"
    if masks and not segments.is_file():
        raise DataError("names an image without masks", where=str(listed), expected=str(segments), found="no such file")
    objects = tuple(_object(xml, thing, number) for number, thing in enumerate(root.findall("object"), 1))
    return _Image(xml, path, height, width, str(segments) if masks else None, objects)


def _image_file(home: Path, xml: Path, root: ElementTree.Element, name: str) -> str:
    """Return the image that an annotation names, else one of the annotation's own name.

    Raises:
        DataError: if there is neither.
    """
    folder = home / "JPEGImages"
    written = (root.findtext("filename") or "").strip()
    candidates = [written, *(f"{name}{extension}" for extension in EXTENSIONS)]
    found = next((folder / file for file in candidates if file and (folder / file).is_file()), None)
    if found is None:
        raise DataError(
            "names a file that is missing",
            where=str(xml),
            expected=str(folder / (written or f"{name}.jpg")),
            found="no such file",
            remedy="add the image, or remove it from the lists",
        )
    return str(found)


def _object(xml: Path, thing: ElementTree.Element, number: int) -> _Object:
    name = (thing.findtext("name") or "").strip()
    texts = {tag: thing.findtext(f"bndbox/{tag}") for tag in ("xmin", "ymin", "xmax", "ymax")}
    try:
        xmin, ymin, xmax, ymax = (float(text or "none") for text in texts.values())
        difficult = bool(int(thing.findtext("difficult") or 0))
        possible = bool(name) and all(map(math.isfinite, (xmin, ymin, xmax, ymax))) and xmin <= xmax and ymin <= ymax
    except ValueError:
        possible = False
    if not possible:
        raise DataError(
            "impossible object",
            where=f"{xml}: object {number}",
            expected="a name and bndbox with xmin <= xmax and ymin <= ymax",
            found=f"name {name!r}, bndbox {' '.join(str(text) for text in texts.values())}",
        )
    # VOC counts pixels from 1, and the last one is inside the box.
    return _Object(name, (xmin - 1, ymin - 1, xmax, ymax), difficult)


def _classes(home: Path, images: list[_Image]) -> list[str]:
    """Return the names of the classes in order.

    Raises:
        DataError: if an object's is not among those declared, or there is none.
    """
    file = home / CLASSES_FILE
    if not file.is_file():
        names = sorted({thing.name for image in images for thing in image.objects})
        if not names:
            raise DataError("no objects", where=str(home), expected="at least one object, or names in classes.txt")
        return names
    declared = [line.strip() for line in _lines(file) if line.strip()]
    declared = declared[1:] if declared[:1] == ["background"] else declared
    for image in images:
        for number, thing in enumerate(image.objects, 1):
            if thing.name not in declared:
                raise DataError(
                    "class that is not declared",
                    where=f"{image.xml}: object {number}",
                    expected=f"one of the {len(declared)} names in {file.name}",
                    found=repr(thing.name),
                )
    return declared


def _gathered(file: Path, images: list[_Image], classes: list[str], *, masks: bool) -> Annotations:
    labels = {name: label for label, name in enumerate(classes, 1)}
    pictures = []
    for position, image in enumerate(images, 1):
        things = []
        for number, thing in enumerate(image.objects, 1):
            x0, y0, x1, y1 = thing.box
            things.append(
                Thing(
                    thing.box,
                    labels[thing.name],
                    area=(x1 - x0) * (y1 - y0),
                    difficult=thing.difficult,
                    segment=numbered(image.segments, number) if image.segments else "",
                    where=f"{image.xml.name}, object {number}",
                )
            )
        pictures.append(Picture(image.path, position, image.height, image.width, things))
    return gathered(
        pictures, where=str(file), class_names=classes, category_ids=range(1, len(classes) + 1), masks=masks
    )
