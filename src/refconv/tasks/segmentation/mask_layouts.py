"""Where images and masks lie: folders of both, Pascal VOC, Cityscapes, and the scenes that refconv composes.

::

    masks:FOLDER       images/train/a.jpg, masks/train/a.png, and the same for val and test; any folders below
                       classes.txt: the name of each class, one a line, the first for number 0
    voc:FOLDER         JPEGImages/a.jpg, SegmentationClass/a.png, ImageSets/Segmentation/train.txt and val.txt, here or
                       in VOCdevkit/VOC2012; classes.txt if the classes are not Pascal VOC's
    cityscapes:FOLDER  leftImg8bit/train/CITY/a_leftImg8bit.png, gtFine/train/CITY/a_gtFine_labelIds.png
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

from refconv.data.images import PathTable, images_below
from refconv.data.scenes import scenes_folder
from refconv.data.splits import Parts
from refconv.errors import DataError
from refconv.tasks.image_data import CLASSES_FILE, first_words, listed, missing, read_parts, text_of
from refconv.tasks.segmentation.masks import IGNORED, MOST_CLASSES, MaskedImages

VOC_CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow",
    "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip

CITYSCAPES_CLASSES = {
    "road": 7, "sidewalk": 8, "building": 11, "wall": 12, "fence": 13, "pole": 17, "traffic light": 19,
    "traffic sign": 20, "vegetation": 21, "terrain": 22, "sky": 23, "person": 24, "rider": 25, "car": 26, "truck": 27,
    "bus": 28, "train": 31, "motorcycle": 32, "bicycle": 33,
}  # fmt: skip
"""The 19 classes that count, in the order of their training numbers, with their numbers in the files."""

_CITYSCAPES_NUMBERS = 34
_CITYSCAPES_PLATE = 255  # -1 in the files' 8 bits
_VOC_FOLDERS = ("JPEGImages", "SegmentationClass")
_VOC_PLACES = ("", "VOCdevkit/VOC2012", "VOC2012", "VOCdevkit/VOC2007", "VOC2007", "voc")


@dataclasses.dataclass(frozen=True)
class MaskSet:
    """Images with masks, in splits, below ``where``; class names (the first for number 0) are None if not declared."""

    where: str
    parts: Parts[MaskedImages]
    class_names: tuple[str, ...] | None


def open_masks(name: str, *, root: str | None = None, val_split: float = 0.0) -> MaskSet:
    """Find images and masks by the name that a recipe gives; ``root`` is what FOLDER is relative to."""
    kind, colon, path = name.partition(":")
    if kind == "scenes":
        return _mask_folders(scenes_folder(name, root), val_split=val_split)
    if not colon or kind not in _LAYOUTS:
        raise DataError(
            "no data for segmentation",
            where=name,
            expected=f"scenes, {', '.join(f'{kind}:FOLDER' for kind in _LAYOUTS)}",
            remedy=f"write masks:{name}" if Path(root or "", name, "masks").is_dir() else None,
        )
    folder = Path(root or "", path)
    if not folder.is_dir():
        raise missing("folder", "no such folder", where=f"{kind}:{folder}")
    return _LAYOUTS[kind](folder, val_split=val_split)


def _mask_folders(folder: Path, *, val_split: float) -> MaskSet:
    """List images and masks in two trees of the same names."""
    for kind in ("images", "masks"):
        if not (folder / kind / "train").is_dir():
            found, expected = listed(entry.name for entry in folder.iterdir()), f"a folder {kind}/train"
            raise missing("folder", f"no training {kind}", where=folder, expected=expected, found=found)
    splits = [entry.name for entry in (folder / "images").iterdir() if entry.is_dir()]
    parts = read_parts(splits, lambda split: _tree(folder, split), where=folder / "images", val_split=val_split)
    return MaskSet(str(folder), parts, declared_classes(folder))


def _tree(folder: Path, split: str) -> MaskedImages:
    """Pair the images and masks of a split by their names; refuse one without the other."""
    images, masks = (_by_stem(folder / kind / split) for kind in ("images", "masks"))
    if not images:
        raise missing("folder", "no images", where=folder / "images" / split)
    for have, lack, words, kind in ((images, masks, "image", "mask"), (masks, images, "mask", "image")):
        alone = [stem for stem in have if stem not in lack]
        if alone:
            raise missing(
                "file",
                f"{len(alone):,} of {len(have):,} {words}s have no {kind}",
                where=have[alone[0]],
                expected=folder / f"{kind}s" / split / f"{alone[0]}.*",
                remedy=f"add the {kind} or remove the {words}",
            )
    return MaskedImages(PathTable(list(images.values())), PathTable([masks[stem] for stem in images]))


def _by_stem(folder: Path) -> dict[str, str]:
    """Return the images below a folder by their path in it without the ending; refuse two of one name."""
    found: dict[str, str] = {}
    for path in images_below(folder):
        stem = Path(path).relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise DataError("two files of one name", where=path, found=found[stem], remedy="remove one of them")
        found[stem] = path
    return found


def _voc(folder: Path, *, val_split: float) -> MaskSet:
    """List images and masks as Pascal VOC's lists name them."""
    place = next((folder / p for p in _VOC_PLACES if (folder / p / "SegmentationClass").is_dir()), None)
    if place is None:
        what, expected = "no masks in Pascal VOC format", ", ".join(_VOC_FOLDERS) + " and ImageSets/Segmentation"
        found = listed(entry.name for entry in folder.iterdir())
        raise missing("folder", what, where=folder, expected=f"folders {expected}", found=found)
    lists = place / "ImageSets" / "Segmentation"
    names = [split for split in ("train", "val", "test") if (lists / f"{split}.txt").is_file()]
    if "train" not in names:
        expected = "ImageSets/Segmentation/train.txt"
        raise missing("folder", "no list of training images", where=place, expected=expected)
    # VOC2012's own test list names images whose masks are kept secret.
    if "test" in names and not (place / "SegmentationClass" / f"{_names(lists / 'test.txt')[0]}.png").is_file():
        names.remove("test")
    files = {kind: _by_stem(place / kind) for kind in _VOC_FOLDERS}

    def read(split: str) -> MaskedImages:
        file = lists / f"{split}.txt"
        wanted = _names(file)
        for kind, known in files.items():
            absent = [name for name in wanted if name not in known]
            if absent:
                what = f"{len(absent):,} of {len(wanted):,} names have no file"
                raise missing("file", what, where=file, expected=place / kind / f"{absent[0]}.*")
        images, masks = (PathTable([known[name] for name in wanted]) for known in files.values())
        return MaskedImages(images, masks)

    parts = read_parts(names, read, where=lists, val_split=val_split)
    return MaskSet(str(place), parts, declared_classes(place) or VOC_CLASSES)


def _names(file: Path) -> list[str]:
    found = first_words(file)
    if not found:
        raise missing("folder", "the list of images is empty", where=file)
    return found


def _cityscapes(folder: Path, *, val_split: float) -> MaskSet:
    """List images and fine masks of Cityscapes; its test masks are kept secret, so ``val`` is what is tested on."""
    meanings = dict.fromkeys([*range(_CITYSCAPES_NUMBERS), _CITYSCAPES_PLATE], IGNORED)
    meanings |= {number: index for index, number in enumerate(CITYSCAPES_CLASSES.values())}

    def read(split: str) -> MaskedImages:
        images = images_below(folder / "leftImg8bit" / split)
        if not images:
            expected = f"leftImg8bit/{split}/CITY/*_leftImg8bit.png"
            raise missing("folder", "no images", where=folder, expected=expected)
        masks = [_cityscapes_mask(folder, Path(image)) for image in images]
        return MaskedImages(PathTable(images), PathTable(masks), tuple(sorted(meanings.items())))

    parts = read_parts(("train", "val"), read, where=folder, val_split=val_split)
    return MaskSet(str(folder), parts, tuple(CITYSCAPES_CLASSES))


def _cityscapes_mask(folder: Path, image: Path) -> Path:
    stem = image.name.removesuffix("_leftImg8bit.png")
    inside = image.parent.relative_to(folder / "leftImg8bit")
    mask = folder / "gtFine" / inside / f"{stem}_gtFine_labelIds.png"
    if not mask.is_file():
        raise missing(
            "file", "an image without a mask", where=image, expected=mask, remedy="add the mask, or remove the image"
        )
    return mask


def declared_classes(folder: Path) -> tuple[str, ...] | None:
    """Read the names of the classes; None where no file declares them."""
    path = folder / CLASSES_FILE
    if not path.is_file():
        return None
    names = tuple(line.strip() for line in text_of(path).strip().splitlines())
    if not 2 <= len(names) <= MOST_CLASSES:
        expected = f"2 to {MOST_CLASSES} lines, the first for number 0"
        raise DataError("not a list of class names", where=str(path), expected=expected, found=str(len(names)))
    twice = next((name for index, name in enumerate(names) if not name or name in names[:index]), None)
    if twice is not None:
        raise DataError(f"two classes of the name {twice!r}" if twice else "a class without a name", where=str(path))
    return names


_LAYOUTS: dict[str, Callable[..., MaskSet]] = {"masks": _mask_folders, "voc": _voc, "cityscapes": _cityscapes}
