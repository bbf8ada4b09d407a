"""Images with a class for every pixel: where they are, how a mask is read, and what a mask may not hold.

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

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refconv.data.images import PathTable, apart, decode, images_below, open_image, reading, sizes_of
from refconv.data.scenes import scenes_folder
from refconv.data.splits import Parts
from refconv.data.texts import text_of, there
from refconv.errors import DataError
from refconv.paths import path_of
from refconv.tasks.image_data import CLASSES_FILE, first_words, listed, missing, read_parts

Numbers = NDArray[np.integer]  #: The class of each pixel, [H, W]
IGNORED = -1  #: The meaning of numbers to ignore
MOST_CLASSES = 255
_COLOURS = 4  # bands of a mask at most


@dataclasses.dataclass(frozen=True)
class MaskedImages:
    """Images and their masks of one split, in the same order; picklable, as worker processes get a copy.

    ``meanings`` says what each number in the files means, where it is not the class itself: class by number, with
    :data:`IGNORED` for pixels to ignore. Other numbers are refused.
    """

    images: PathTable
    masks: PathTable
    meanings: tuple[tuple[int, int], ...] | None = None

    def __len__(self) -> int:
        return len(self.images)

    def image(self, index: int, mode: str) -> Image.Image:
        """Read one image upright, as its mask is; as it is stored, if only so it has the size of its mask."""
        image = decode(self.images[index])
        if image.size != sizes_of(self.masks[index])[1]:
            image = decode(self.images[index], upright=False)
        return image.convert(mode)

    def classes(self, index: int, *, count: int, ignored: int) -> NDArray[np.uint8]:
        """Read one mask as classes, uint8 [H, W]: 0 to ``count - 1``, or ``ignored``; other numbers are refused."""
        numbers = read_mask(self.masks[index])
        if self.meanings is None:
            known = ((numbers >= 0) & (numbers < count)) | (numbers == ignored)
            expected = f"0 to {count - 1}, or {ignored} to be ignored"
        else:
            known = np.isin(numbers, [number for number, _ in self.meanings])
            expected = f"one of {len(self.meanings)} known numbers"
        if not known.all():
            what, remedy = "the mask holds an undeclared class", "fix the mask, or declare the class"
            found = _counted(numbers[~known])
            raise DataError(what, where=self.masks[index], expected=expected, found=found, remedy=remedy)
        if self.meanings is None:
            return numbers.astype(np.uint8)
        table = np.full(max(number for number, _ in self.meanings) + 1, ignored, dtype=np.uint8)
        for number, meaning in self.meanings:
            if meaning != IGNORED:
                table[number] = meaning
        return table[numbers]

    def sizes(self) -> list[tuple[int, int]]:
        """Return width and height of every image as :meth:`image` gives it, from the heads of the files."""
        found = []
        for index in range(len(self)):
            where, mask = self.images[index], self.masks[index]
            upright, stored = sizes_of(where)
            masked = sizes_of(mask)[1]
            if masked not in {upright, stored}:
                what, remedy = "the mask has another size than its image", "export mask and image from the same source"
                expected, shown = (f"{size[0]} x {size[1]}" for size in (upright, masked))
                raise DataError(what, where=mask, expected=expected, found=shown, remedy=remedy)
            found.append(masked)
        return found


def read_mask(path: str) -> Numbers:
    """Read the numbers of a mask, [H, W]: an image of one band, of indices into a palette, or of three equal bands."""
    if path.lower().endswith((".jpg", ".jpeg")):
        raise DataError("lossy format for a mask", where=path, expected="PNG", found="JPEG", remedy="export it as PNG")
    with reading(path), open_image(path) as image:
        image.load()
        found = np.asarray(image)
    if found.dtype == bool:
        return found.astype(np.uint8)
    if np.issubdtype(found.dtype, np.integer):
        if found.ndim == 2:
            return found
        bands = {"LA": 1, "PA": 1, "RGB": 3, "RGBA": 3}.get(image.mode, 0)
        first: Numbers = found[..., 0]
        if bands and (found[..., :bands] == first[..., None]).all():
            return first
    coloured = found.ndim == 3 and found.shape[2] <= _COLOURS
    what = "the mask holds colours" if coloured else "the mask does not hold class indices"
    expected = "one number per pixel, the class, with or without a palette"
    remedy = "replace each colour by the number of its class"
    raise DataError(what, where=path, expected=expected, found=f"mode {image.mode}", remedy=remedy)


def check_variety(pairs: MaskedImages, *, count: int, ignored: int, where: str) -> None:
    """Look through training masks until two classes have been seen, mostly in the first; refuse fewer."""
    seen: set[int] = set()
    for index in range(len(pairs)):
        seen |= set(np.unique(pairs.classes(index, count=count, ignored=ignored)).tolist())
        if len(seen - {ignored}) > 1:
            return
    what, expected = "all training masks together hold fewer than two classes", f"numbers from 0 to {count - 1}"
    raise _too_few(what, seen, ignored, where=where, expected=expected)


def classes_in(pairs: MaskedImages, *, ignored: int, where: str) -> int:
    """Look through all masks, where classes are not declared, and return how many there are, 0 to the largest."""
    seen: set[int] = set()
    for index in range(len(pairs)):
        seen |= set(np.unique(read_mask(pairs.masks[index])).tolist())
    classes = seen - {ignored}
    if len(classes) < 2 or not 0 <= min(classes) <= max(classes) < MOST_CLASSES:
        expected = f"numbers from 0 to {MOST_CLASSES - 1}, and more than one class"
        raise _too_few("the masks do not hold the numbers of classes", seen, ignored, where=where, expected=expected)
    return max(classes) + 1


def _too_few(what: str, seen: set[int], ignored: int, *, where: str, expected: str) -> DataError:
    """Return the error for masks of too few classes."""
    remedy = "check that the masks are those of this data"
    if seen == {0, ignored}:
        remedy = f"if {ignored} is what is looked for, write 1 instead"
    found = ("only " if len(seen) <= 8 else "") + listed(seen)
    found += f", of which {ignored} is ignored" if ignored in seen else ""
    return DataError(what, where=where, expected=expected, found=found, remedy=remedy)


def _counted(strange: Numbers) -> str:
    numbers, times = np.unique(strange, return_counts=True)
    words = [f"{number} in {n:,} pixels" for number, n in zip(numbers[:5].tolist(), times[:5].tolist(), strict=True)]
    return ", ".join(words) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")


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
        expected = f"scenes, {', '.join(f'{kind}:FOLDER' for kind in _LAYOUTS)}"
        remedy = f"write masks:{name}" if path_of(root, name, "masks").is_dir() else None
        raise DataError("no data for segmentation", where=name, expected=expected, remedy=remedy)
    folder = path_of(root, path)
    if not folder.is_dir():
        raise missing("folder", "no such folder", where=f"{kind}:{folder}")
    found = _LAYOUTS[kind](folder, val_split=val_split)
    apart(found.parts, lambda part: part.images, where=f"{kind}:{folder}")
    return found


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
            what, remedy = (
                f"{len(alone):,} of {len(have):,} {words}s have no {kind}",
                f"add the {kind} or remove the {words}",
            )
            expected = folder / f"{kind}s" / split / f"{alone[0]}.*"
            raise missing("file", what, where=have[alone[0]], expected=expected, remedy=remedy)
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
        raise missing("folder", "no list of training images", where=place, expected="ImageSets/Segmentation/train.txt")
    # VOC2012's own test list names images whose masks are kept secret.
    if "test" in names and not there(place / "SegmentationClass" / f"{_names(lists / 'test.txt')[0]}.png"):
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
            raise missing("folder", "no images", where=folder, expected=f"leftImg8bit/{split}/CITY/*_leftImg8bit.png")
        masks = []
        for image in map(Path, images):
            inside = image.parent.relative_to(folder / "leftImg8bit")
            stem = image.name.removesuffix("_leftImg8bit.png")
            masks.append(folder / "gtFine" / inside / f"{stem}_gtFine_labelIds.png")
            if not masks[-1].is_file():
                what, remedy = "an image without a mask", "add the mask, or remove the image"
                raise missing("file", what, where=image, expected=masks[-1], remedy=remedy)
        return MaskedImages(PathTable(images), PathTable(masks), tuple(sorted(meanings.items())))

    parts = read_parts(("train", "val"), read, where=folder, val_split=val_split)
    return MaskSet(str(folder), parts, tuple(CITYSCAPES_CLASSES))


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
