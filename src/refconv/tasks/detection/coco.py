"""Objects in COCO's layout: one json per split with boxes, classes and masks (Lin et al. 2014, arXiv 1405.0312)."""

from __future__ import annotations

import json
import math
import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from refconv.data.images import sizes_of
from refconv.data.splits import Parts, held_out
from refconv.errors import DataError
from refconv.tasks.detection.annotations import Annotations, Picture, Thing, gathered
from refconv.tasks.detection.segments import encoded

_SPLITS = ("train", "val", "validation", "valid", "test")


def coco_annotations(folder: Path, *, val_split: float = 0.0, masks: bool = False) -> Parts[Annotations]:
    """Read the splits of a folder.

    The json of a split is ``annotations/instances_train2017.json`` (with any year, or none), or
    ``annotations/train.json``, or ``train/_annotations.coco.json``. Its images lie in ``train2017``,
    ``images/train2017``, ``images/train``, ``train``, ``images``, or beside it.

    Args:
        folder: the folder that holds all this.
        val_split: share of the training images to be validated on (see
            :func:`refconv.data.splits.held_out`).
        masks: whether to read masks.

    Raises:
        DataError: if something is missing, damaged, or contradicts itself.
    """
    files = _split_files(folder)
    if "train" not in files:
        raise DataError(
            "nothing to train on",
            where=f"coco:{folder}",
            expected="annotations/instances_train.json",
            found=", ".join(sorted(str(file.relative_to(folder)) for file in files.values()))
            or ("no json of a split" if folder.is_dir() else "no such folder"),
        )
    val, test = held_out(files, where=f"coco:{folder}", val_split=val_split)
    parts = Parts(
        train=read_coco(files["train"], folder, masks=masks),
        val=None if val is None else read_coco(files[val], folder, masks=masks),
        test=read_coco(files[test], folder, masks=masks),
    )
    for name, part in ((val, parts.val), (test, parts.test)):
        if part is not None:
            _require_same_categories(files["train"], parts.train, files[str(name)], part)
    return parts


def read_coco(file: Path, folder: Path, *, masks: bool = False) -> Annotations:
    """Read one json.

    Args:
        file: the json.
        folder: the folder of the whole data set, in which images are looked for.
        masks: whether to read masks.

    Raises:
        DataError: if it is damaged, contradicts itself, or names a missing file.
    """
    content = _content(file)
    categories = _by_id(file, content, "categories")
    names = [str(category.get("name", number)) for number, category in sorted(categories.items())]
    labels = {number: label for label, number in enumerate(sorted(categories), 1)}
    images = _by_id(file, content, "images")
    paths = _paths(file, folder, images)
    sizes = {number: _size(image, paths[number]) for number, image in images.items()}
    things: dict[int, list[Thing]] = {number: [] for number in images}
    _require_unique(file, "annotations", (entry["id"] for entry in content["annotations"] if "id" in entry))
    for position, entry in enumerate(content["annotations"]):
        where = f"annotation {entry.get('id', f'number {position}')}"
        for key, declared in (("image_id", images), ("category_id", categories)):
            if type(entry.get(key)) is not int or entry[key] not in declared:
                raise DataError(
                    f"{key} that is not declared",
                    where=f"{file}: {where}",
                    expected=f"one of the {len(declared)} ids in {'images' if key == 'image_id' else 'categories'}",
                    found=repr(entry.get(key, "none")),
                )
        image = entry["image_id"]
        size = sizes[image] if masks else None
        things[image].append(_thing(file, entry, labels[entry["category_id"]], where, mask_size=size))
    pictures = [Picture(paths[number], number, *sizes[number], things[number]) for number in images]
    return gathered(pictures, where=str(file), class_names=names, category_ids=sorted(categories), masks=masks)


def _thing(file: Path, entry: dict[str, Any], label: int, where: str, *, mask_size: tuple[int, int] | None) -> Thing:
    place = f"{file}: {where}"
    box = entry.get("bbox")
    if not (isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)):
        raise DataError("impossible box", where=place, expected="bbox [x, y, width, height]", found=repr(box))
    x, y, width, height = box
    if width < 0 or height < 0:
        raise DataError(
            "box of negative size", where=place, expected="bbox [x, y, width, height] in pixels", found=repr(box)
        )
    area = entry.get("area", width * height)
    if not _is_number(area) or area < 0:
        raise DataError("impossible area", where=place, expected="a number of pixels", found=repr(area))
    segment = ""
    if mask_size is not None:
        if not entry.get("segmentation"):
            raise DataError("has no mask", where=place, expected="segmentation: polygons or runs")
        segment = encoded(entry["segmentation"], *mask_size, where=place)
    corners = (float(x), float(y), float(x + width), float(y + height))
    return Thing(corners, label, float(area), crowd=bool(entry.get("iscrowd", 0)), segment=segment, where=where)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _split_files(folder: Path) -> dict[str, Path]:
    """Return the json of each split that has one.

    Raises:
        DataError: if a split has several.
    """
    found: dict[str, Path] = {}
    names = sorted(file.name for file in (folder / "annotations").glob("*.json"))
    for split in _SPLITS:
        for pattern in (rf"instances_{split}[_-]?\d*\.json", rf"{split}[_-]?\d*\.json"):
            matches = [name for name in names if re.fullmatch(pattern, name)]
            if len(matches) > 1:
                raise DataError(
                    f"several files for {split}",
                    where=str(folder / "annotations"),
                    expected="one",
                    found=" and ".join(matches),
                    remedy="move the others elsewhere",
                )
            if matches:
                found.setdefault(split, folder / "annotations" / matches[0])
        exported = folder / split / "_annotations.coco.json"
        if split not in found and exported.is_file():
            found[split] = exported
    return found


def _content(file: Path) -> dict[str, Any]:
    """Read a json with the three lists that every COCO file has.

    Raises:
        DataError: if it is damaged or something else.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    # RecursionError: brackets within brackets; ValueError: broken json, and bytes that are not UTF-8.
    except (OSError, ValueError, RecursionError) as error:
        raise DataError("damaged json", where=str(file), found=str(error), remedy="fetch the file again") from error
    for key in ("images", "annotations", "categories"):
        entries = content.get(key) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError("not in COCO's layout", where=str(file), expected=f"a list {key!r} of objects")
    whole: dict[str, Any] = content
    return whole


def _by_id(file: Path, content: dict[str, Any], key: str) -> dict[int, dict[str, Any]]:
    """Return the entries of a list by their ids.

    Raises:
        DataError: if one has none, or two the same.
    """
    for position, entry in enumerate(content[key]):
        if type(entry.get("id")) is not int:
            raise DataError(
                "has no whole number as id", where=f"{file}: {key}[{position}]", found=repr(entry.get("id", "none"))
            )
    _require_unique(file, key, (entry["id"] for entry in content[key]))
    if key == "categories" and not content[key]:
        raise DataError("declares no categories", where=str(file))
    return {entry["id"]: entry for entry in content[key]}


def _require_unique(file: Path, key: str, ids: Iterable[Any]) -> None:
    """Refuse ids that occur twice.

    Raises:
        DataError: naming the first.
    """
    twice = [number for number, count in Counter(map(str, ids)).items() if count > 1]
    if twice:
        raise DataError(
            "ids that occur more than once",
            where=f"{file}: {key}",
            expected="one entry per id",
            found=f"{twice[0]} and {len(twice) - 1} more" if len(twice) > 1 else twice[0],
        )


def _paths(file: Path, folder: Path, images: dict[int, dict[str, Any]]) -> dict[int, str]:
    """Find the files of all images.

    Raises:
        DataError: if one is missing.
    """
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
    # Where the first image is missing, whichever folder holds most decides what is said about it.
    place = next((place for place in places if (place / first).is_file()), None)
    if place is None:
        place = max(places, key=lambda place: sum((place / str(name)).is_file() for name in list(names.values())[:100]))
    return _existing(file, place, names)


def _existing(file: Path, place: Path, names: dict[int, Any]) -> dict[int, str]:
    listed = {*os.listdir(place)} if place.is_dir() else set()  # noqa: PTH208  (a hundred thousand names)
    missing = [name for name in names.values() if name not in listed and not (place / name).is_file()]
    if missing:
        _missing(file, place, missing, len(names))
    return {number: str(place / name) for number, name in names.items()}


def _missing(file: Path, place: Path, missing: list[str], total: int) -> NoReturn:
    raise DataError(
        "names files that are missing",
        where=str(file),
        expected=f"{missing[0]} in {place}" if place.is_dir() else f"{missing[0]} in images/, or in a folder {place}",
        found=f"{len(missing):,} of {total:,} missing",
        remedy="add the images, or remove their entries",
    )


def _size(image: dict[str, Any], path: str) -> tuple[int, int]:
    """Return height and width as declared, else of the upright image.

    Raises:
        DataError: if neither says it.
    """
    height, width = image.get("height"), image.get("width")
    if isinstance(height, int) and isinstance(width, int) and height > 0 and width > 0:
        return height, width
    width, height = sizes_of(path)[0]
    return height, width


def _require_same_categories(train_file: Path, train: Annotations, file: Path, part: Annotations) -> None:
    ours = dict(zip(train.category_ids, train.class_names, strict=True))
    theirs = dict(zip(part.category_ids, part.class_names, strict=True))
    if ours != theirs:
        different = sorted({*ours.items()} ^ {*theirs.items()})
        number, name = different[0]
        raise DataError(
            "declares other categories than the training data",
            where=str(file),
            expected=f"those of {train_file.name}",
            found=f"{len(different)} differences, the first: {number} {name!r}",
        )
