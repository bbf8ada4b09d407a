"""Images read from a disk by worker processes and prepared by timm's transforms.

Each sample's augmentation is seeded by its own coordinates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision import transforms

from refconv.data.augmentation import Augmentation
from refconv.data.dataset import Batch, Data, DataInfo, Drawn, Split
from refconv.data.images import Images, decoded
from refconv.data.loading import load_batches
from refconv.data.preprocessing import IMAGE_MODES, Preprocessing
from refconv.data.splits import Parts, index_of, validation_split
from refconv.data.targets import strata, strata_names
from refconv.errors import DataError, SettingError
from refconv.process.randomness import derive_seed, seeded

Transform = Callable[[Image.Image], Tensor]
_Sample = tuple[Tensor, Tensor]
_RANDOM = ("bilinear", "bicubic")  #: What timm chooses from where the interpolation is random


def train_transform(preprocessing: Preprocessing, settings: Augmentation) -> Transform:
    """Return the random transform of training samples.

    With ``scale`` the crop is timm's RandomResizedCrop. Without it images are resized and cropped as in evaluation, and
    cut out at a random place of the padded image with ``pad_crop``.

    Raises:
        SettingError: if timm does not know the policy of ``auto_augment``.
    """
    try:
        spatial, colour, final = _timms(
            preprocessing,
            is_training=True,
            scale=settings.scale,
            ratio=settings.crop_ratio,
            hflip=settings.hflip,
            vflip=settings.vflip,
            color_jitter=settings.color_jitter or None,
            auto_augment=settings.auto_augment,
            interpolation=settings.interpolation or preprocessing.interpolation,
            re_prob=settings.re_prob,
            separate=True,
        )
    # timm checks the policy's words by assertions and by converting them to numbers.
    except (AssertionError, ValueError, KeyError) as error:
        expected, found = "a policy such as rand-m9-mstd0.5, original or augmix-m5-w4-d2", repr(settings.auto_augment)
        raise SettingError(
            "unknown policy", where="auto_augment", expected=expected, found=found, remedy=str(error) or None
        ) from error
    if settings.scale is None:
        resampled = _RANDOM if settings.interpolation == "random" else (settings.interpolation,)
        # All but to a tensor, and normalised.
        whole = [_as_evaluated(preprocessing, mode).transforms[:-2] for mode in resampled]
        steps = [transforms.RandomChoice([transforms.Compose(one) for one in whole])] if len(whole) > 1 else whole[0]
        if settings.pad_crop:
            steps.append(transforms.RandomCrop(preprocessing.size, padding=settings.pad_crop))
        if settings.hflip:
            steps.append(transforms.RandomHorizontalFlip(settings.hflip))
        if settings.vflip:
            steps.append(transforms.RandomVerticalFlip(settings.vflip))
        spatial = transforms.Compose(steps)
    composed: Transform = transforms.Compose([*_colours(preprocessing), spatial, colour, final])
    return composed


def eval_transform(preprocessing: Preprocessing) -> Transform:
    """Return the fixed transform of samples that are evaluated: timm's, with these values."""
    made: Transform = transforms.Compose([*_colours(preprocessing), *_as_evaluated(preprocessing).transforms])
    return made


def _as_evaluated(preprocessing: Preprocessing, interpolation: str | None = None) -> Any:
    how = {} if interpolation is None else {"interpolation": interpolation}
    return _timms(preprocessing, crop_pct=preprocessing.crop_pct, crop_mode=preprocessing.crop_mode, **how)


def _timms(preprocessing: Preprocessing, **settings: Any) -> Any:
    values = {name: getattr(preprocessing, name) for name in ("interpolation", "mean", "std")}
    return create_transform(preprocessing.input_size, **{**values, **settings})


def _colours(preprocessing: Preprocessing) -> list[Callable[[Image.Image], Image.Image]]:
    return [_reversed] if preprocessing.color_mode == "BGR" else []


def _reversed(image: Image.Image) -> Image.Image:
    return Image.merge("RGB", image.split()[::-1])


class DiskData(Data):
    """Images on a disk served in batches, augmented by timm's transforms.

    ``workers`` processes read the images; 0 reads in this one. Without training images nothing reads that split.
    """

    def __init__(
        self,
        name: str,
        parts: Parts[Images | None],
        val_split: float,
        augmentation: Augmentation,
        *,
        workers: int,
        preprocessing: Preprocessing,
    ) -> None:
        if preprocessing.in_chans not in IMAGE_MODES:
            what, remedy = "images of timm's have 1 or 3 channels", "give folder:PATH or table:PATH for others"
            raise DataError(what, where=name, found=f"in_chans={preprocessing.in_chans}", remedy=remedy)
        assert parts.test is not None
        trained = parts.test if parts.train is None else parts.train
        labels = torch.empty(0, dtype=torch.int64) if parts.train is None else parts.train.labels
        classes = strata_names(labels, trained.class_names)
        train, val = validation_split(strata(labels), val_split, name=name, class_names=classes)
        if parts.val is not None:
            val = torch.arange(len(parts.val.labels))
        indices: dict[Split, Tensor] = {"train": train, "val": val, "test": torch.arange(len(parts.test.labels))}
        super().__init__(DataInfo.of(name, trained.class_names, preprocessing, indices), indices, preprocessing)
        validated = trained if parts.val is None else parts.val
        self._images: dict[Split, Images] = {"train": trained, "val": validated, "test": parts.test}
        self._train_transform = train_transform(preprocessing, augmentation)
        self._eval_transform = eval_transform(preprocessing)
        self._workers = workers

    def _load(self, split: Split, batches: list[Tensor], drawn: Drawn) -> Iterator[Batch]:
        transform = self._train_transform if drawn else self._eval_transform
        samples = _Samples(self._images[split], IMAGE_MODES[self.info.in_chans], transform, drawn)
        return load_batches(samples, batches, workers=self._workers, collate=_collated)

    def train_targets(self) -> Tensor:
        """Return the targets of all training samples."""
        return self._images["train"].labels[self._indices["train"]]


@dataclasses.dataclass(frozen=True)
class _Samples:
    """What a worker process gets: it makes sample ``index``, and asks no generator that others have used."""

    images: Images
    mode: str  # PIL's
    transform: Transform
    drawn: Drawn

    def __getitem__(self, number: int) -> _Sample:
        index = index_of(number)
        image = decoded(self.images, index, self.mode)
        label = self.images.labels[index]
        if self.drawn is None:
            return self.transform(image), label
        with seeded(derive_seed("augmentation", *self.drawn, number)):
            return self.transform(image), label


def _collated(samples: list[_Sample]) -> Batch:
    return torch.stack([image for image, _ in samples]), torch.stack([label for _, label in samples])
