"""From a decoded image to a normalised tensor, by timm's transforms."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image
from timm.data import create_transform
from timm.data.transforms import str_to_interp_mode
from torch import Tensor
from torchvision import transforms

from refconv.errors import SettingError
from refconv.training.data.augmentation import Augmentation
from refconv.training.data.info import DataInfo

Transform = Callable[[Image.Image], Tensor]


def train_transform(info: DataInfo, settings: Augmentation) -> Transform:
    """Return the random transform of training samples.

    With ``scale`` the crop is timm's RandomResizedCrop. Without it the shorter side is resized to the input size
    and the middle is kept, cut out at a random place of the padded image with ``pad_crop``.

    Args:
        info: size, mean and standard deviation wanted.
        settings: what is random.

    Raises:
        SettingError: if timm does not know the policy of ``auto_augment``.
    """
    try:
        spatial, colour, final = create_transform(
            info.input_size,
            is_training=True,
            scale=settings.scale,
            ratio=settings.crop_ratio,
            hflip=settings.hflip,
            color_jitter=settings.color_jitter or None,
            auto_augment=settings.auto_augment,
            interpolation=settings.interpolation,
            mean=info.mean,
            std=info.std,
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
        spatial = transforms.Compose(_resized_whole(info, settings))
    composed: Transform = transforms.Compose([spatial, colour, final])
    return composed


def eval_transform(info: DataInfo, settings: Augmentation, *, crop_pct: float | None) -> Transform:
    """Return the fixed transform of samples that are evaluated: resize, cut the middle out, normalise.

    Args:
        info: size, mean and standard deviation wanted.
        settings: interpolation and ``crop_pct``.
        crop_pct: what to keep of the shorter side where the settings leave it open; None for timm's default.
    """
    made: Transform = create_transform(
        info.input_size,
        interpolation=_fixed(settings.interpolation),
        mean=info.mean,
        std=info.std,
        crop_pct=settings.crop_pct if settings.crop_pct is not None else crop_pct,
    )
    return made


def _resized_whole(info: DataInfo, settings: Augmentation) -> list[Callable[..., Image.Image]]:
    size = info.input_size[-2:]
    steps = [
        transforms.Resize(max(size), interpolation=str_to_interp_mode(_fixed(settings.interpolation))),
        transforms.CenterCrop(size),
    ]
    if settings.pad_crop:
        steps.append(transforms.RandomCrop(size, padding=settings.pad_crop))
    if settings.hflip:
        steps.append(transforms.RandomHorizontalFlip(settings.hflip))
    return steps


def _fixed(interpolation: str) -> str:
    return "bilinear" if interpolation == "random" else interpolation
