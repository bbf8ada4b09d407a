"""Images read from a disk by worker processes and prepared by timm's transforms.

Each sample's augmentation is seeded by its own coordinates.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision import transforms

from refconv.data.augmentation import Augmentation
from refconv.data.dataset import Batch, Data, Split
from refconv.data.images import Images, decoded
from refconv.data.info import DataInfo
from refconv.data.loading import load_batches
from refconv.data.preprocessing import IMAGE_MODES, Preprocessing
from refconv.data.splits import Parts, validation_split
from refconv.errors import DataError, SettingError
from refconv.process.randomness import derive_seed, seeded

Transform = Callable[[Image.Image], Tensor]


def train_transform(preprocessing: Preprocessing, settings: Augmentation) -> Transform:
    """Return the random transform of training samples.

    With ``scale`` the crop is timm's RandomResizedCrop. Without it images are resized and cropped as in evaluation, and
    cut out at a random place of the padded image with ``pad_crop``.

    Args:
        preprocessing: size, interpolation, crop, mean and standard deviation.
        settings: what is random.

    Raises:
        SettingError: if timm does not know the policy of ``auto_augment``.
    """
    try:
        spatial, colour, final = create_transform(
            preprocessing.input_size,
            is_training=True,
            scale=settings.scale,
            ratio=settings.crop_ratio,
            hflip=settings.hflip,
            color_jitter=settings.color_jitter or None,
            auto_augment=settings.auto_augment,
            interpolation=settings.interpolation or preprocessing.interpolation,
            mean=preprocessing.mean,
            std=preprocessing.std,
            re_prob=settings.re_prob,
            separate=True,
        )
    # timm checks the policy's words by assertions and by converting them to numbers.
    except (AssertionError, ValueError, KeyError) as error:
        raise SettingError(
            "unknown policy",
            where="auto_augment",
            expected="a policy such as rand-m9-mstd0.5, original or augmix-m5-w4-d2",
            found=repr(settings.auto_augment),
            remedy=str(error) or None,
        ) from error
    if settings.scale is None:
        spatial = transforms.Compose(_as_in_evaluation(preprocessing, settings))
    composed: Transform = transforms.Compose([*_colours(preprocessing), spatial, colour, final])
    return composed


def eval_transform(preprocessing: Preprocessing) -> Transform:
    """Return the fixed transform of samples that are evaluated: timm's, with these values."""
    made: Transform = transforms.Compose([*_colours(preprocessing), *_timms(preprocessing).transforms])
    return made


def _as_in_evaluation(preprocessing: Preprocessing, settings: Augmentation) -> list[Callable[..., Image.Image]]:
    steps: list[Callable[..., Image.Image]] = _timms(preprocessing).transforms[
        :-2
    ]  # all but to a tensor, and normalised
    if settings.pad_crop:
        steps.append(transforms.RandomCrop(preprocessing.size, padding=settings.pad_crop))
    if settings.hflip:
        steps.append(transforms.RandomHorizontalFlip(settings.hflip))
    return steps


def _timms(preprocessing: Preprocessing) -> transforms.Compose:
    made: transforms.Compose = create_transform(
        preprocessing.input_size,
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
    )
    return made


def _colours(preprocessing: Preprocessing) -> list[Callable[[Image.Image], Image.Image]]:
    return [_reversed] if preprocessing.color_mode == "BGR" else []


def _reversed(image: Image.Image) -> Image.Image:
    return Image.merge("RGB", image.split()[::-1])


class DiskData(Data):
    """Images on a disk served in batches, augmented by timm's transforms.

    Args:
        name: the name it was opened by.
        parts: the images of each split.
        val_split: share of the training samples set aside for validation.
        augmentation: what is done to training samples.
        workers: processes that read images; 0 reads in this one.
        preprocessing: how an image becomes a tensor.

    Raises:
        DataError: if the validation split or the number of channels is impossible.
        SettingError: if the augmentation is.
    """

    def __init__(
        self,
        name: str,
        parts: Parts[Images | None],
        *,
        val_split: float,
        augmentation: Augmentation,
        workers: int,
        preprocessing: Preprocessing,
    ) -> None:
        if preprocessing.in_chans not in IMAGE_MODES:
            raise DataError("images have 1 or 3 channels", where=name, found=f"in_chans={preprocessing.in_chans}")
        assert parts.test is not None
        trained = parts.test if parts.train is None else parts.train  # without training images nothing reads them
        labels = torch.empty(0, dtype=torch.int64) if parts.train is None else parts.train.labels
        train, val = validation_split(labels, val_split, name=name, class_names=trained.class_names)
        if parts.val is not None:
            val = torch.arange(len(parts.val.labels))
        info = DataInfo(
            name=name,
            num_classes=len(trained.class_names),
            in_chans=preprocessing.in_chans,
            input_size=preprocessing.input_size,
            mean=preprocessing.mean,
            std=preprocessing.std,
            class_names=trained.class_names,
            train_size=len(train),
            val_size=len(val),
            test_size=len(parts.test.labels),
        )
        super().__init__(info, {"train": train, "val": val, "test": torch.arange(info.test_size)}, preprocessing)
        self._images: dict[Split, Images] = {
            "train": trained,
            "val": trained if parts.val is None else parts.val,
            "test": parts.test,
        }
        self._train_transform = train_transform(preprocessing, augmentation)
        self._eval_transform = eval_transform(preprocessing)
        self._workers = workers

    def _load_train(self, batches: list[Tensor], *, seed: int, epoch: int) -> Iterator[Batch]:
        return self._loaded("train", self._train_transform, (seed, epoch), batches)

    def _load_eval(self, split: Split, batches: list[Tensor]) -> Iterator[Batch]:
        return self._loaded(split, self._eval_transform, None, batches)

    def _loaded(
        self, split: Split, transform: Transform, coordinates: tuple[int, int] | None, batches: list[Tensor]
    ) -> Iterator[Batch]:
        return load_batches(
            _Samples(self._images[split], IMAGE_MODES[self.info.in_chans], transform, coordinates),
            batches,
            workers=self._workers,
            collate=_collated,
        )


_Sample = tuple[Tensor, int]


@dataclasses.dataclass(frozen=True)
class _Samples:
    """What a worker process gets: it makes sample ``index``, and asks no generator that others have used.

    Attributes:
        images: where the images come from.
        mode: PIL's mode.
        transform: from image to tensor.
        coordinates: seed and epoch; None for a transform that draws nothing.
    """

    images: Images
    mode: str
    transform: Transform
    coordinates: tuple[int, int] | None

    def __getitem__(self, index: int) -> _Sample:
        image = decoded(self.images, index, self.mode)
        label = int(self.images.labels[index])
        if self.coordinates is None:
            return self.transform(image), label
        with seeded(derive_seed("augmentation", *self.coordinates, index)):
            return self.transform(image), label


def _collated(samples: list[_Sample]) -> Batch:
    return torch.stack([image for image, _ in samples]), torch.tensor([label for _, label in samples])
