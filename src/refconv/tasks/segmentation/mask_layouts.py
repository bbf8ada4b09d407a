"""Where images and masks lie: folders of both, Pascal VOC, Cityscapes, and the scenes that refconv composes.

::

    masks:FOLDER       images/train/a.jpg, masks/train/a.png, and the same for val and test; any folders below
                       classes.txt: the name of each class, one a line, the first for number 0
    voc:FOLDER         JPEGImages/a.jpg, SegmentationClass/a.png, ImageSets/Segmentation/train.txt and val.txt;
                       FOLDER may also hold VOCdevkit/VOC2012; classes.txt if the classes are not Pascal VOC's
    cityscapes:FOLDER  leftImg8bit/train/CITY/a_leftImg8bit.png, gtFine/train/CITY/a_gtFine_labelIds.png
    scenes             what ``refconv data scenes`` wrote
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path

from refconv.data.images import PathTable, images_below
from refconv.data.scenes import scenes_folder
from refconv.data.splits import Parts, held_out
from refconv.errors import DataError
from refconv.tasks.segmentation.masks import IGNORED, MOST_CLASSES, MaskedImages

CLASSES_FILE = "classes.txt"

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
_VOC_PLACES = ("", "VOCdevkit/VOC2012", "VOC2012", "VOCdevkit/VOC2007", "VOC2007", "voc")


@dataclasses.dataclass(frozen=True)
class MaskSet:
    """Images with masks, in splits.

    Attributes:
        where: the folder.
        parts: the images of each split.
        class_names: one name per class, the first for number 0; None where nothing declares them.
    """

    where: str
    parts: Parts[MaskedImages]
    class_names: tuple[str, ...] | None


def open_masks(name: str, *, root: str | None = None, val_split: float = 0.0) -> MaskSet:
    """Find images and masks by the name that a recipe gives.

    Args:
        name: ``masks:FOLDER``, ``voc:FOLDER``, ``cityscapes:FOLDER``, ``scenes`` or ``scenes:FOLDER``.
        root: what FOLDER is relative to; for ``scenes`` the folder itself.
        val_split: share of the training images to validate on; decides what ``val`` is where there is ``test`` too.

    Raises:
        DataError: if the data is unknown, missing or incomplete.
    """
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
        raise DataError("no such folder", where=f"{kind}:{folder}")
    return _LAYOUTS[kind](folder, val_split=val_split)


def _mask_folders(folder: Path, *, val_split: float) -> MaskSet:
    """List images and masks in two trees of the same names.

    Raises:
        DataError: if a folder is missing, or an image and a mask do not belong together.
    """
    for kind in ("images", "masks"):
        if not (folder / kind / "train").is_dir():
            raise DataError(
                f"no training {kind}",
                where=str(folder),
                expected=f"a folder {kind}/train",
                found=_listed(entry.name for entry in folder.iterdir()),
            )
    splits = [entry.name for entry in (folder / "images").iterdir() if entry.is_dir()]
    val, test = held_out(splits, where=str(folder / "images"), val_split=val_split)
    parts = {split: _tree(folder, split) for split in ("train", val, test) if split}
    return MaskSet(str(folder), _parts(parts, val, test), declared_classes(folder))


def _tree(folder: Path, split: str) -> MaskedImages:
    """Pair the images and masks of a split by their names.

    Raises:
        DataError: if one is without the other, or two have one name.
    """
    images, masks = (_by_stem(folder / kind / split) for kind in ("images", "masks"))
    if not images:
        raise DataError("no images", where=str(folder / "images" / split))
    for have, lack, words, kind in ((images, masks, "image", "mask"), (masks, images, "mask", "image")):
        alone = [stem for stem in have if stem not in lack]
        if alone:
            raise DataError(
                f"{len(alone):,} of {len(have):,} {words}s have no {kind}",
                where=have[alone[0]],
                expected=str(folder / f"{kind}s" / split / f"{alone[0]}.*"),
                remedy=f"add the {kind} or remove the {words}",
            )
    return MaskedImages(PathTable(list(images.values())), PathTable([masks[stem] for stem in images]))


def _by_stem(folder: Path) -> dict[str, str]:
    """Return the images below a folder by their path in it without the ending.

    Raises:
        DataError: if two have one name.
    """
    found: dict[str, str] = {}
    for path in images_below(folder):
        stem = Path(path).relative_to(folder).with_suffix("").as_posix()
        if stem in found:
            raise DataError("two files of one name", where=path, found=found[stem], remedy="remove one of them")
        found[stem] = path
    return found


def _voc(folder: Path, *, val_split: float) -> MaskSet:
    """List images and masks as Pascal VOC's lists name them.

    Raises:
        DataError: if a folder, a list, an image or a mask is missing.
    """
    place = next((folder / p for p in _VOC_PLACES if (folder / p / "SegmentationClass").is_dir()), None)
    if place is None:
        raise DataError(
            "no masks in Pascal VOC format",
            where=str(folder),
            expected="folders JPEGImages, SegmentationClass and ImageSets/Segmentation",
            found=_listed(entry.name for entry in folder.iterdir()),
        )
    lists = place / "ImageSets" / "Segmentation"
    names = [split for split in ("train", "val", "test") if (lists / f"{split}.txt").is_file()]
    if "train" not in names:
        raise DataError("no list of training images", where=str(place), expected="ImageSets/Segmentation/train.txt")
    # VOC2012's own test list names images whose masks are kept secret.
    if "test" in names and not (place / "SegmentationClass" / f"{_lines(lists / 'test.txt')[0]}.png").is_file():
        names.remove("test")
    val, test = held_out(names, where=str(lists), val_split=val_split)
    images, masks = (_by_stem(place / kind) for kind in ("JPEGImages", "SegmentationClass"))
    parts = {}
    for split in ("train", val, test):
        if not split:
            continue
        listed = _lines(lists / f"{split}.txt")
        for kind, known in (("JPEGImages", images), ("SegmentationClass", masks)):
            missing = [name for name in listed if name not in known]
            if missing:
                raise DataError(
                    f"{len(missing):,} of {len(listed):,} names have no file",
                    where=str(lists / f"{split}.txt"),
                    expected=str(place / kind / f"{missing[0]}.*"),
                )
        parts[split] = MaskedImages(
            PathTable([images[name] for name in listed]), PathTable([masks[name] for name in listed])
        )
    return MaskSet(str(place), _parts(parts, val, test), declared_classes(place) or VOC_CLASSES)


def _lines(path: Path) -> list[str]:
    """Return the names in a list.

    Raises:
        DataError: if it cannot be read or is empty.
    """
    found = [line.split()[0] for line in _text(path).splitlines() if line.strip()]
    if not found:
        raise DataError("the list of images is empty", where=str(path))
    return found


def _cityscapes(folder: Path, *, val_split: float) -> MaskSet:
    """List images and fine masks of Cityscapes; its test masks are kept secret, so ``val`` is what is tested on.

    Raises:
        DataError: if a folder or a mask is missing.
    """
    meanings = dict.fromkeys([*range(_CITYSCAPES_NUMBERS), _CITYSCAPES_PLATE], IGNORED)
    meanings |= {number: index for index, number in enumerate(CITYSCAPES_CLASSES.values())}
    parts = {}
    for split in ("train", "val"):
        images = images_below(folder / "leftImg8bit" / split)
        if not images:
            raise DataError("no images", where=str(folder), expected=f"leftImg8bit/{split}/CITY/*_leftImg8bit.png")
        masks = [_cityscapes_mask(folder, Path(image)) for image in images]
        parts[split] = MaskedImages(PathTable(images), PathTable(masks), tuple(sorted(meanings.items())))
    val, test = held_out(list(parts), where=str(folder), val_split=val_split)
    return MaskSet(str(folder), _parts(parts, val, test), tuple(CITYSCAPES_CLASSES))


def _cityscapes_mask(folder: Path, image: Path) -> Path:
    """Return where the mask of an image lies.

    Raises:
        DataError: if there is none.
    """
    stem = image.name.removesuffix("_leftImg8bit.png")
    inside = image.parent.relative_to(folder / "leftImg8bit")
    mask = folder / "gtFine" / inside / f"{stem}_gtFine_labelIds.png"
    if not mask.is_file():
        raise DataError("an image without a mask", where=str(image), expected=str(mask))
    return mask


def declared_classes(folder: Path) -> tuple[str, ...] | None:
    """Read the names of the classes; None where no file declares them.

    Raises:
        DataError: if there are fewer than two, too many, or two of one name.
    """
    path = folder / CLASSES_FILE
    if not path.is_file():
        return None
    names = tuple(line.strip() for line in _text(path).strip().splitlines())
    if not 2 <= len(names) <= MOST_CLASSES:
        raise DataError(
            "not a list of class names",
            where=str(path),
            expected=f"2 to {MOST_CLASSES} lines, the first for number 0",
            found=str(len(names)),
        )
    twice = next((name for index, name in enumerate(names) if not name or name in names[:index]), None)
    if twice is not None:
        raise DataError(f"two classes of the name {twice!r}" if twice else "a class without a name", where=str(path))
    return names


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError("cannot be read", where=str(path), found=str(error)) from error


def _parts(parts: dict[str, MaskedImages], val: str | None, test: str) -> Parts[MaskedImages]:
    return Parts(train=parts["train"], val=None if val is None else parts[val], test=parts[test])


def _listed(names: Iterable[str]) -> str:
    found = sorted(names)
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "") if found else "nothing"


_LAYOUTS: dict[str, Callable[..., MaskSet]] = {"masks": _mask_folders, "voc": _voc, "cityscapes": _cityscapes}
