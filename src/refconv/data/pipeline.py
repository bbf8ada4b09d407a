"""From a decoded image to a normalised tensor, by timm's transforms."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from timm.data import create_transform
from torch import Tensor
from torchvision import transforms

from refconv.data.augmentation import Augmentation
from refconv.data.preprocessing import Preprocessing
from refconv.errors import SettingError

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
            "policy that timm does not know",
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
