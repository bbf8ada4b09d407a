"""Objects in Pascal VOC's layout: one xml per image, and lists of the images of a split (Everingham et al. 2010)."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from refconv.data.images import EXTENSIONS, sizes_of
from refconv.data.splits import Parts, held_out
from refconv.errors import DataError
from refconv.tasks.detection.annotations import Annotations, Category, ImageAnnotation, ObjectAnnotation, gathered
from refconv.tasks.detection.segments import numbered
from refconv.tasks.image_data import CLASSES_FILE, first_words, missing, text_of


def voc_annotations(folder: Path, *, val_split: float = 0.0, masks: bool = False) -> Parts[Annotations]:
    """Read the splits of a folder that holds ``Annotations``, or of VOCdevkit above it.

    Classes are numbered in the order of ``classes.txt``, if there is one (a first line ``background`` does not
    count), else in the order of their names, as VOC's twenty are. With masks the splits are those of
    ``ImageSets/Segmentation``, and the mask of an object is its number in ``SegmentationObject``.
    """
    home = voc_home(folder)
    kind = "Segmentation" if masks else "Main"
    lists = {file.stem: file for file in sorted((home / "ImageSets" / kind).glob("*.txt"))}
    train = next((name for name in ("train", "trainval") if name in lists), None)
    if train is None:
        found = ", ".join(file.name for file in lists.values()) or "no lists"
        place, expected = home / "ImageSets" / kind, "train.txt or trainval.txt"
        raise missing("folder", "nothing to train on", where=place, expected=expected, found=found)
    # The images of val are among those of trainval.
    names = [name for name in (train, "val", "test") if name in lists and (name, train) != ("val", "trainval")]
    val, test = held_out(names, where=f"voc:{folder}", val_split=val_split)
    declared = _declared_classes(home)
    read = {name: _read_list(home, lists[name], declared, masks) for name in (train, val, test) if name is not None}
    named = {str(entry.category) for images in read.values() for image in images for entry in image.objects}
    classes: dict[Category, str] = {name: name for name in declared or sorted(named)}
    if not classes:
        raise DataError("no objects", where=str(home), expected="at least one object, or names in classes.txt")
    parts = {
        name: gathered(images, where=str(lists[name]), class_names=classes, masks=masks)
        for name, images in read.items()
    }
    return Parts(train=parts[train], val=None if val is None else parts[val], test=parts[test])


def voc_home(folder: Path) -> Path:
    """Return the folder that holds ``Annotations`` and ``ImageSets``: this one, or one below it, as in VOCdevkit."""
    if not folder.is_dir():
        raise missing("folder", "no such folder", where=f"voc:{folder}")
    if (folder / "ImageSets").is_dir():
        return folder
    homes = sorted({*(path.parent for pattern in ("*", "VOCdevkit/*") for path in folder.glob(f"{pattern}/ImageSets"))})
    if len(homes) != 1:
        expected = "one folder with Annotations, ImageSets and JPEGImages"
        if not homes:
            raise missing("folder", "no VOC folder", where=f"voc:{folder}", expected=expected, found="none")
        found = ", ".join(str(home.relative_to(folder)) for home in homes)
        remedy = f"give one of them, such as voc:{homes[0]}"
        raise DataError("several VOC folders", where=f"voc:{folder}", expected=expected, found=found, remedy=remedy)
    return homes[0]


def _read_list(home: Path, file: Path, declared: list[str] | None, masks: bool) -> list[ImageAnnotation]:
    names = first_words(file)
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise DataError("lists an image twice", where=str(file), found=twice)
    return [_read_xml(home, name, file, number, declared, masks) for number, name in enumerate(names, 1)]


def _read_xml(
    home: Path, name: str, listed: Path, image_id: int, declared: list[str] | None, masks: bool
) -> ImageAnnotation:
    xml, segments = home / "Annotations" / f"{name}.xml", home / "SegmentationObject" / f"{name}.png"
    for file, kind in ((xml, "annotation"), (segments, "masks")):
        if not file.is_file() and (masks or file is xml):
            what = f"lists an image without {kind}"
            raise missing("file", what, where=listed, expected=file, found="no such file")
    try:
        root = ElementTree.parse(xml).getroot()
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise DataError("invalid XML", where=str(xml), found=str(error), remedy="download the file again") from error
    path = _image_file(home, xml, root, name)
    try:
        height, width = (round(float(root.findtext(f"size/{side}", "0"))) for side in ("height", "width"))
    except (ValueError, OverflowError) as error:
        raise DataError("invalid image size", where=str(xml), found=str(error)) from error
    if height <= 0 or width <= 0:
        width, height = sizes_of(path)[0]
    objects = [
        _object(xml, entry, number, declared, numbered(str(segments), number) if masks else "")
        for number, entry in enumerate(root.findall("object"), 1)
    ]
    return ImageAnnotation(path, image_id, height, width, objects)


def _image_file(home: Path, xml: Path, root: ElementTree.Element, name: str) -> str:
    """Return the image that an annotation names, else one of the annotation's own name."""
    folder = home / "JPEGImages"
    written = (root.findtext("filename") or "").strip()
    candidates = [written, *(f"{name}{extension}" for extension in EXTENSIONS)]
    found = next((folder / file for file in candidates if file and (folder / file).is_file()), None)
    if found is None:
        expected, remedy = folder / (written or f"{name}.jpg"), "add the image, or remove it from the lists"
        what = "lists an image file that does not exist"
        raise missing("file", what, where=xml, expected=expected, found="no such file", remedy=remedy)
    return str(found)


def _object(
    xml: Path, entry: ElementTree.Element, number: int, declared: list[str] | None, segment: str
) -> ObjectAnnotation:
    name, where = (entry.findtext("name") or "").strip(), f"{xml}: object {number}"
    texts = {tag: entry.findtext(f"bndbox/{tag}") for tag in ("xmin", "ymin", "xmax", "ymax")}
    try:
        xmin, ymin, xmax, ymax = (float(text or "none") for text in texts.values())
        difficult = bool(int(entry.findtext("difficult") or 0))
        possible = bool(name) and all(map(math.isfinite, (xmin, ymin, xmax, ymax))) and xmin <= xmax and ymin <= ymax
    except ValueError:
        possible = False
    if not possible:
        expected = "a name and bndbox with xmin <= xmax and ymin <= ymax"
        found = f"name {name!r}, bndbox {' '.join(map(str, texts.values()))}"
        raise DataError("invalid object", where=where, expected=expected, found=found)
    if declared is not None and name not in declared:
        expected = f"one of the {len(declared)} names in {CLASSES_FILE}"
        raise DataError("class that is not declared", where=where, expected=expected, found=repr(name))
    # VOC counts pixels from 1, and the last one is inside the box.
    box = (xmin - 1, ymin - 1, xmax, ymax)
    area = (box[2] - box[0]) * (box[3] - box[1])
    return ObjectAnnotation(box, name, area, difficult=difficult, segment=segment, where=f"{xml.name}, object {number}")


def _declared_classes(home: Path) -> list[str] | None:
    """Return the names in ``classes.txt``; None if there is no such file."""
    if not (home / CLASSES_FILE).is_file():
        return None
    declared = [line.strip() for line in text_of(home / CLASSES_FILE).splitlines() if line.strip()]
    return declared[1:] if declared[:1] == ["background"] else declared
