"""Images with a class for every pixel, served as batches of one size.

Every sample is a box of its image, scaled to the square that the model takes; outside the image it has the mean colour,
and pixels are ignored. In evaluation the box is the smallest square that holds the whole image, in its middle. In
training the box is as large, or, with ``scale``, of a random share of that area, which may be above 1, at random.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torchvision import transforms

from refconv.data.augmentation import Range
from refconv.data.class_names import Classes
from refconv.data.dataset import Batch, Data, DataInfo, Drawn, Split, Targets
from refconv.data.loading import load_batches
from refconv.data.preprocessing import IMAGE_MODES, Preprocessing, Statement, common_size, resolve
from refconv.data.splits import index_of
from refconv.errors import DataError, SettingError
from refconv.process.randomness import derive_seed, seeded
from refconv.tasks.image_data import CLASSES_FILE, divided, image_channels, stacked
from refconv.tasks.segmentation.masks import MaskedImages, MaskSet, check_variety, classes_in, open_masks

_RESAMPLING = {name: Image.Resampling[name.upper()] for name in ("bilinear", "bicubic", "nearest")}
_DEFAULT_RATIO = (3 / 4, 4 / 3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SegmentationAugmentation:
    """What is done to training samples at random; the default does nothing.

    ``scale`` is the range of the area of the box, as a share of the smallest square that holds the image; ``ratio``, of
    its width over height, is 3/4 to 4/3 by default. ``interpolation`` may be ``random``.
    """

    hflip: float = 0.0
    vflip: float = 0.0
    scale: Range | None = None
    ratio: Range | None = None
    color_jitter: float = 0.0
    interpolation: str | None = None

    def __post_init__(self) -> None:
        if self.ratio is not None and self.scale is None:
            raise SettingError("has no effect without scale", where="ratio")


class SegmentationData(Data):
    """Images and class maps in batches: float32 [batch, C, S, S], normalised, and int64 [batch, S, S].

    ``num_classes`` counts where no file declares the classes; else all training masks are looked through for the
    largest number. ``stated`` is what flags, recipe and model say about preprocessing, in this order. The side of the
    square is by default that of the images if nine in ten training images are squares of one size, else 224.
    """

    def __init__(
        self,
        name: str,
        *,
        root: str | None = None,
        val_split: float = 0.0,
        augmentation: SegmentationAugmentation | None = None,
        ignore_index: int = 255,
        workers: int = 0,
        num_classes: int | None = None,
        in_chans: int | None = None,
        stated: Sequence[Statement] = (),
    ) -> None:
        found = open_masks(name, root=root, val_split=val_split)
        parts = found.parts
        channels = image_channels(in_chans, name=name)
        own_size, *_ = [common_size(part.sizes()) for part in (parts.train, parts.val, parts.test) if part is not None]
        class_names = _class_names(found, ignore_index, num_classes)
        whole = Statement("segmentation", {"crop_pct": 1.0, "crop_mode": "border"})
        preprocessing = resolve([whole, *stated, own_size], in_chans=channels, where=name)
        _check_square(preprocessing, name)
        self._parts, indices = divided(parts, val_split, name=name)
        super().__init__(DataInfo.of(name, class_names, preprocessing, indices), indices, preprocessing)
        self.ignore_index = ignore_index
        self._augmentation, self._workers = augmentation or SegmentationAugmentation(), workers

    def with_classes(self, classes: Classes) -> Data:
        """Return the data with the classes of a model; ignored pixels stay ignored."""
        changed = super().with_classes(classes)
        ignored = self.ignore_index
        outputs = () if changed.matching is None else changed.matching.outputs
        if any(output == ignored != number for number, output in enumerate(outputs)):
            what = "a class of the model has the number of ignored pixels"
            expected, found = "another ignore_index than the number of a class", f"ignore_index={ignored}"
            raise DataError(what, where=self.info.name, expected=expected, found=found)
        return changed

    def _relabelled(self, targets: Targets, outputs: Tensor) -> Targets:
        ignored = targets == self.ignore_index
        return torch.where(ignored, self.ignore_index, outputs[torch.where(ignored, 0, targets)])

    def _load(self, split: Split, batches: list[Tensor], drawn: Drawn) -> Iterator[Batch]:
        count = self.info.num_classes if self.matching is None else len(self.matching.found)
        settings = (self.preprocessing, self.ignore_index, self._augmentation)
        samples = _Samples(self._parts[split], count, *settings, drawn)
        return load_batches(samples, batches, workers=self._workers, collate=stacked)


def prepared(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Return an image without a mask as in evaluation, float32 [C, S, S]."""
    image = image.convert(IMAGE_MODES[preprocessing.in_chans])
    return fitted(image, None, whole_box(*image.size), preprocessing, ignored=0)[0]


def _check_square(preprocessing: Preprocessing, name: str) -> None:
    """Refuse a size that is no square, and resampling that segmentation does not do."""
    if len(set(preprocessing.size)) > 1:
        found = " x ".join(map(str, preprocessing.size))
        what = "segmentation needs a square input size"
        raise DataError(what, where=name, found=f"{found} px", remedy="give --img-size, in Python img_size")
    if preprocessing.interpolation not in _RESAMPLING:
        what, found, remedy = (
            "unsupported interpolation",
            preprocessing.interpolation,
            "give --interpolation bicubic, in Python interpolation",
        )
        raise DataError(what, where=name, expected=", ".join(_RESAMPLING), found=found, remedy=remedy)


def _class_names(found: MaskSet, ignored: int, num_classes: int | None) -> tuple[str, ...]:
    """Return one name per class, and look whether the training masks hold more than one class."""
    train, names = found.parts.train, found.class_names
    if names is None and num_classes is None:
        return tuple(map(str, range(classes_in(train, ignored=ignored, where=found.where))))
    names = names or tuple(map(str, range(num_classes or 0)))
    where = f"{found.where} ({CLASSES_FILE})" if found.class_names else found.where
    check_variety(train, count=len(names), ignored=ignored, where=where)
    return names


@dataclasses.dataclass(frozen=True)
class _Samples:
    """What a worker process gets: it makes sample ``index``, and asks no generator that others have used."""

    pairs: MaskedImages
    num_classes: int
    preprocessing: Preprocessing
    ignored: int
    augmentation: SegmentationAugmentation
    drawn: Drawn

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        index = index_of(number)
        image = self.pairs.image(index, IMAGE_MODES[self.preprocessing.in_chans])
        classes = self.pairs.classes(index, count=self.num_classes, ignored=self.ignored)
        if not self.drawn:
            return fitted(image, classes, whole_box(*image.size), self.preprocessing, ignored=self.ignored)
        with seeded(derive_seed("augmentation", *self.drawn, number)):
            return self._augmented(image, classes)

    def _augmented(self, image: Image.Image, classes: NDArray[np.uint8]) -> tuple[Tensor, Tensor]:
        settings = self.augmentation
        # Every sample draws the same numbers, whatever is done with them.
        flipped, other_resampling = torch.rand(2).tolist()
        interpolation = settings.interpolation
        if interpolation == "random":
            interpolation = "bicubic" if other_resampling < 0.5 else "bilinear"
        box = whole_box(*image.size)
        if settings.scale is not None:
            box = random_box(*image.size, scale=settings.scale, ratio=settings.ratio or _DEFAULT_RATIO)
        if settings.color_jitter:
            # As timm does it: no change of hue.
            image = transforms.ColorJitter(*[settings.color_jitter] * 3)(image)
        how = dataclasses.replace(self.preprocessing, interpolation=interpolation or self.preprocessing.interpolation)
        sample, truth = fitted(image, classes, box, how, ignored=self.ignored)
        sides = [-1] * (flipped < settings.hflip) + [-2] * (float(torch.rand(())) < settings.vflip)
        return sample.flip(sides), truth.flip(sides)


@dataclasses.dataclass(frozen=True)
class Box:
    """A part of an image in pixels from its left upper corner, which may reach beyond it."""

    left: float
    top: float
    width: float
    height: float


def whole_box(width: int, height: int) -> Box:
    """Return the smallest square that holds a whole image, which lies in the middle of it."""
    side = float(max(width, height))
    return Box((width - side) / 2, (height - side) / 2, side, side)


def place_in_square(width: int, height: int, *, size: int) -> tuple[int, int, int, int]:
    """Return where a whole image lies in its square of ``size`` pixels: left, top, right and bottom."""
    box = whole_box(width, height)
    _, _, left, right = _along(box.left, box.width, width, size)
    _, _, top, bottom = _along(box.top, box.height, height, size)
    return left, top, right, bottom


def random_box(width: int, height: int, *, scale: Range, ratio: Range) -> Box:
    """Draw a box from torch's generator.

    Its area is uniform in ``scale`` times that of :func:`whole_box`, the logarithm of its aspect ratio uniform in that
    of ``ratio``. Along each dimension it lies within the image at random, or, where it is longer, around it.
    """
    area, shape, x, y = torch.rand(4, dtype=torch.float64).tolist()
    side = max(width, height) * math.sqrt(scale[0] + area * (scale[1] - scale[0]))
    root = math.exp((math.log(ratio[0]) + shape * (math.log(ratio[1]) - math.log(ratio[0]))) / 2)
    # x (width - box) runs from 0 to what is left, which is negative for a box that reaches beyond the image.
    return Box(x * (width - side * root), y * (height - side / root), side * root, side / root)


def fitted(
    image: Image.Image, classes: NDArray[np.uint8] | None, box: Box, preprocessing: Preprocessing, *, ignored: int
) -> tuple[Tensor, Tensor]:
    """Scale a box of an image and of its mask [H, W] to a square, float32 [C, S, S], normalised, and int64 [S, S].

    The mask is scaled by the nearest pixel. Outside the image it is ``ignored``, as it is all over without ``classes``.
    """
    size, fill = preprocessing.size[-1], tuple(min(255, max(0, round(255 * value))) for value in preprocessing.mean)
    x0, x1, left, right = _along(box.left, box.width, image.width, size)
    y0, y1, top, bottom = _along(box.top, box.height, image.height, size)
    picture = Image.new(image.mode, (size, size), fill[0] if len(fill) == 1 else fill)
    truth = np.full((size, size), ignored, dtype=np.uint8)
    resample = _RESAMPLING[preprocessing.interpolation]
    picture.paste(image.resize((right - left, bottom - top), resample, box=(x0, y0, x1, y1)), (left, top))
    if classes is not None:
        rows, columns = _nearest(y0, y1, bottom - top), _nearest(x0, x1, right - left)
        truth[top:bottom, left:right] = classes[rows[:, None], columns]
    pixels = torch.from_numpy(np.array(picture)).view(size, size, preprocessing.in_chans).permute(2, 0, 1)
    mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (pixels.float() / 255 - mean) / std, torch.from_numpy(truth).long()


def _along(start: float, length: float, image: int, size: int) -> tuple[float, float, int, int]:
    """Return, along one dimension, the part of the image inside the box, and where it goes in the square."""
    first, last = max(0.0, start), min(float(image), start + length)
    low, high = (round((edge - start) / length * size) for edge in (first, last))
    low = min(low, size - 1)
    return first, last, low, max(high, low + 1)


def _nearest(first: float, last: float, count: int) -> NDArray[np.int64]:
    """Return the pixels nearest to the middles of ``count`` equal parts of a stretch."""
    middles = first + (np.arange(count) + 0.5) * (last - first) / count
    return np.floor(middles).astype(np.int64)
