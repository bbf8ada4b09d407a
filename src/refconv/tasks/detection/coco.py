"""Objects in COCO's layout: one json per split with boxes, classes and masks (Lin et al. 2014, arXiv 1405.0312)."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from refconv.data.images import sizes_of
from refconv.data.splits import Parts, held_out
from refconv.errors import DataError
from refconv.tasks.detection.annotations import Annotations, Category, ImageAnnotation, ObjectAnnotation, gathered
from refconv.tasks.detection.segments import encoded
from refconv.tasks.image_data import missing

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
    return Parts(train=read["train"], val=None if val is None else read[val], test=read[test])


def read_coco(file: Path, folder: Path, *, masks: bool = False) -> Annotations:
    """Read one json; images are looked for in the folder of the whole data set."""
    content = _content(file)
    categories, images = (_by_id(file, content, key) for key in ("categories", "images"))
    if not categories:
        raise DataError("declares no categories", where=str(file))
    names: dict[Category, str] = {
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
        objects[image].append(_object(file, entry, where, mask_size=sizes[image] if masks else None))
    read = [ImageAnnotation(paths[number], number, *sizes[number], objects[number]) for number in images]
    return gathered(read, where=str(file), class_names=names, masks=masks)


def _object(file: Path, entry: dict[str, Any], where: str, *, mask_size: tuple[int, int] | None) -> ObjectAnnotation:
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
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    # RecursionError: brackets within brackets; ValueError: broken json, and bytes that are not UTF-8.
    except (OSError, ValueError, RecursionError) as error:
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
        found = f"{twice[0]} and {len(twice) - 1} more" if len(twice) > 1 else twice[0]
        where = f"{file}: {key}"
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
    place = next((place for place in places if (place / first).is_file()), None)
    if place is None:
        place = max(places, key=lambda place: sum((place / str(name)).is_file() for name in list(names.values())[:100]))
    there = {*os.listdir(place)} if place.is_dir() else set()  # noqa: PTH208  (a hundred thousand names)
    absent = [name for name in names.values() if name not in there and not (place / str(name)).is_file()]
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
