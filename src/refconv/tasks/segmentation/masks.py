"""Images with a class for every pixel: where they are, how a mask is read, and what a mask may not hold."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from refconv.data.images import PathTable, decode, open_image, reading, sizes_of
from refconv.errors import DataError
from refconv.tasks.image_data import listed

Numbers = NDArray[np.integer]
"""The class of each pixel, [H, W]."""

IGNORED = -1
"""The meaning of numbers to ignore."""
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

    def numbers(self, index: int) -> Numbers:
        """Read one mask as the numbers in its file, [H, W]."""
        return read_mask(self.masks[index])

    def classes(self, index: int, *, count: int, ignored: int) -> NDArray[np.uint8]:
        """Read one mask as classes, uint8 [H, W]: 0 to ``count - 1``, or ``ignored``; other numbers are refused."""
        numbers = self.numbers(index)
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
        seen |= set(np.unique(pairs.numbers(index)).tolist())
    classes = seen - {ignored}
    if len(classes) < 2 or not 0 <= min(classes) <= max(classes) < MOST_CLASSES:
        expected = f"numbers from 0 to {MOST_CLASSES - 1}, and more than one class"
        what = "the masks do not hold the numbers of classes"
        raise _too_few(what, seen, ignored, where=where, expected=expected)
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
