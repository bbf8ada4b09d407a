"""Objects in the layouts of COCO and Pascal VOC.

COCO: one json per split with boxes, classes and masks (Lin et al. 2014, arXiv 1405.0312). VOC: one xml per image, and
lists of the images of a split (Everingham et al. 2010).
"""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from refconv.data.images import EXTENSIONS, apart, sizes_of
from refconv.data.splits import Parts, held_out
from refconv.data.texts import text_of, there
from refconv.errors import DataError
from refconv.records import parsed_json
from refconv.tasks.detection.annotations import Annotations, ImageAnnotation, ObjectAnnotation, encoded, gathered
from refconv.tasks.image_data import CLASSES_FILE, first_words, missing

_SPLITS = ("train", "val", "validation", "valid", "test")


def coco_annotations(folder: Path, *, val_split: float = 0.0, masks: bool = False) -> Parts[Annotations]:
    """Read the splits of a folder, with masks if asked for.

    The json of a split is ``annotations/instances_train2017.json`` (with any year, or none), or
    ``annotations/train.json``, or ``train/_annotations.coco.json``. Its images lie in ``train2017``,
    ``images/train2017``, ``images/train``, ``train``, ``images``, or beside it.
    """
    files = _split_files(folder)
    if "train" not in files:
        found = ", ".join(sorted(str(file.relative_to(folder)) for file in files.values()))
        found = found or ("no json of a split" if folder.is_dir() else "no such folder")
        expected = "annotations/instances_train.json"
        raise missing("folder", "nothing to train on", where=f"coco:{folder}", expected=expected, found=found)
    val, test = held_out(files, where=f"coco:{folder}", val_split=val_split)
    read = {name: read_coco(files[name], folder, masks=masks) for name in ("train", val, test) if name is not None}
    for name, part in read.items():
        _require_same_categories(files["train"], read["train"], files[name], part)
    parts = Parts(train=read["train"], val=None if val is None else read[val], test=read[test])
    return apart(parts, lambda part: part.paths, where=f"coco:{folder}")


def read_coco(file: Path, folder: Path, *, masks: bool = False) -> Annotations:
    """Read one json; images are looked for in the folder of the whole data set."""
    content = _content(file)
    categories, images = (_by_id(file, content, key) for key in ("categories", "images"))
    if not categories:
        raise DataError("declares no categories", where=str(file))
    names: dict[int | str, str] = {
        number: str(entry.get("name", number)) for number, entry in sorted(categories.items())
    }
    paths = _paths(file, folder, images)
    sizes = {number: _size(image, paths[number]) for number, image in images.items()}
    objects: dict[int, list[ObjectAnnotation]] = {number: [] for number in images}
    _require_unique(file, "annotations", (entry["id"] for entry in content["annotations"] if "id" in entry))
    for position, entry in enumerate(content["annotations"]):
        where = f"annotation {entry.get('id', f'number {position}')}"
        for key, declared in (("image_id", images), ("category_id", categories)):
            if type(entry.get(key)) is not int or entry[key] not in declared:
                what, found = f"{key} that is not declared", repr(entry.get(key, "none"))
                expected = f"one of the {len(declared)} ids in {'images' if key == 'image_id' else 'categories'}"
                raise DataError(what, where=f"{file}: {where}", expected=expected, found=found)
        image = entry["image_id"]
        objects[image].append(_coco_object(file, entry, where, sizes[image] if masks else None))
    read = [ImageAnnotation(paths[number], number, *sizes[number], objects[number]) for number in images]
    return gathered(read, where=str(file), class_names=names, masks=masks)


def _coco_object(file: Path, entry: dict[str, Any], where: str, mask_size: tuple[int, int] | None) -> ObjectAnnotation:
    place, form = f"{file}: {where}", "bbox [x, y, width, height]"
    box = entry.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)):
        raise DataError("invalid bounding box", where=place, expected=form, found=repr(box))
    x, y, width, height = box
    if width < 0 or height < 0:
        raise DataError("box of negative size", where=place, expected=f"{form} in pixels", found=repr(box))
    area = entry.get("area", width * height)
    if not _is_number(area) or area < 0:
        raise DataError("invalid area", where=place, expected="a number of pixels", found=repr(area))
    segment = ""
    if mask_size is not None:
        if not entry.get("segmentation"):
            raise DataError("has no mask", where=place, expected="segmentation: polygons or runs")
        segment = encoded(entry["segmentation"], *mask_size, where=place)
    corners = (float(x), float(y), float(x + width), float(y + height))
    crowd = bool(entry.get("iscrowd", 0))
    return ObjectAnnotation(corners, entry["category_id"], float(area), crowd=crowd, segment=segment, where=where)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _split_files(folder: Path) -> dict[str, Path]:
    """Return the json of each split that has one; refuse several."""
    found: dict[str, Path] = {}
    names = sorted(file.name for file in (folder / "annotations").glob("*.json"))
    for split in _SPLITS:
        for pattern in (rf"instances_{split}[_-]?\d*\.json", rf"{split}[_-]?\d*\.json"):
            matches = [name for name in names if re.fullmatch(pattern, name)]
            if len(matches) > 1:
                what, where, remedy = f"several files for {split}", folder / "annotations", "move the others elsewhere"
                raise DataError(what, where=str(where), expected="one", found=" and ".join(matches), remedy=remedy)
            if matches:
                found.setdefault(split, folder / "annotations" / matches[0])
        exported = folder / split / "_annotations.coco.json"
        if split not in found and exported.is_file():
            found[split] = exported
    return found


def _content(file: Path) -> dict[str, Any]:
    """Read a json with the three lists that every COCO file has."""
    try:
        content: dict[str, Any] = parsed_json(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError("invalid JSON", where=str(file), found=str(error), remedy="download the file again") from error
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError("not in COCO format", where=str(file), expected=f"a list {key!r} of objects")
    return content


def _by_id(file: Path, content: dict[str, Any], key: str) -> dict[int, dict[str, Any]]:
    """Return the entries of a list by their ids; refuse an entry without one, and two of the same."""
    for position, entry in enumerate(content[key]):
        if type(entry.get("id")) is not int:
            where = f"{file}: {key}[{position}]"
            raise DataError("id is not an integer", where=where, found=repr(entry.get("id", "none")))
    _require_unique(file, key, (entry["id"] for entry in content[key]))
    return {entry["id"]: entry for entry in content[key]}


def _require_unique(file: Path, key: str, ids: Iterable[Any]) -> None:
    twice = [number for number, count in Counter(map(str, ids)).items() if count > 1]
    if twice:
        where, found = f"{file}: {key}", f"{twice[0]} and {len(twice) - 1} more" if len(twice) > 1 else twice[0]
        raise DataError("ids that occur more than once", where=where, expected="one entry per id", found=found)


def _paths(file: Path, folder: Path, images: dict[int, dict[str, Any]]) -> dict[int, str]:
    """Find the files of all images."""
    names = {number: image.get("file_name") for number, image in images.items()}
    for number, name in names.items():
        if not isinstance(name, str) or not name:
            raise DataError("has no file_name", where=f"{file}: image {number}", found=repr(name))
    if not names:
        return {}
    named = file.stem.removeprefix("instances_")
    split = re.sub(r"[_-]?\d+$", "", named)
    places = [folder / name for name in (named, f"images/{named}", f"images/{split}", split, "images", "")]
    if file.parent != folder / "annotations":
        places.insert(0, file.parent)
    first = str(next(iter(names.values())))
    # Where the first image is missing, the folder that holds most is named in the error.
    place = next((place for place in places if there(place / first)), None)
    if place is None:
        place = max(places, key=lambda place: sum(there(place / str(name)) for name in list(names.values())[:100]))
    present = {*os.listdir(place)} if place.is_dir() else set()  # noqa: PTH208  (a hundred thousand names)
    absent = [name for name in names.values() if name not in present and not there(place / str(name))]
    if absent:
        what, found = "lists image files that do not exist", f"{len(absent):,} of {len(names):,} missing"
        expected = f"{absent[0]} in {place if place.is_dir() else f'images/, or in a folder {place}'}"
        remedy = "add the images, or remove their entries"
        raise missing("file", what, where=file, expected=expected, found=found, remedy=remedy)
    return {number: str(place / str(name)) for number, name in names.items()}


def _size(image: dict[str, Any], path: str) -> tuple[int, int]:
    """Return height and width as declared, else of the upright image."""
    height, width = image.get("height"), image.get("width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    width, height = sizes_of(path)[0]
    return height, width


def _require_same_categories(train_file: Path, train: Annotations, file: Path, part: Annotations) -> None:
    ours, theirs = ({*zip(one.category_ids, one.class_names, strict=True)} for one in (train, part))
    different = sorted(ours ^ theirs)
    if different:
        number, name = different[0]
        what, expected = "declares other categories than the training data", f"those of {train_file.name}"
        found = f"{len(different)} differences, the first: {number} {name!r}"
        raise DataError(what, where=str(file), expected=expected, found=found)


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
        place, found = home / "ImageSets" / kind, ", ".join(file.name for file in lists.values()) or "no lists"
        raise missing("folder", "nothing to train on", where=place, expected="train.txt or trainval.txt", found=found)
    # The images of val are among those of trainval.
    names = [name for name in (train, "val", "test") if name in lists and (name, train) != ("val", "trainval")]
    val, test = held_out(names, where=f"voc:{folder}", val_split=val_split)
    declared = _declared_classes(home)
    read = {name: _read_list(home, lists[name], declared, masks) for name in (train, val, test) if name is not None}
    named = {str(entry.category) for images in read.values() for image in images for entry in image.objects}
    classes: dict[int | str, str] = {name: name for name in declared or sorted(named)}
    if not classes:
        raise DataError("no objects", where=str(home), expected="at least one object, or names in classes.txt")
    parts = {
        name: gathered(images, where=str(lists[name]), class_names=classes, masks=masks)
        for name, images in read.items()
    }
    listed = Parts(train=parts[train], val=None if val is None else parts[val], test=parts[test])
    return apart(listed, lambda part: part.paths, where=str(home / "ImageSets" / kind))


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
        if not there(file) and (masks or file is xml):
            raise missing("file", f"lists an image without {kind}", where=listed, expected=file, found="no such file")
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
        _voc_object(xml, entry, number, declared, f"{number} {segments}" if masks else "")
        for number, entry in enumerate(root.findall("object"), 1)
    ]
    return ImageAnnotation(path, image_id, height, width, objects)


def _image_file(home: Path, xml: Path, root: ElementTree.Element, name: str) -> str:
    """Return the image that an annotation names, else one of the annotation's own name."""
    folder = home / "JPEGImages"
    written = (root.findtext("filename") or "").strip()
    candidates = [written, *(f"{name}{extension}" for extension in EXTENSIONS)]
    found = next((folder / file for file in candidates if file and there(folder / file)), None)
    if found is None:
        expected, remedy = folder / (written or f"{name}.jpg"), "add the image, or remove it from the lists"
        what = "lists an image file that does not exist"
        raise missing("file", what, where=xml, expected=expected, found="no such file", remedy=remedy)
    return str(found)


def _voc_object(
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
