"""Normalised samples as images, pixels from 0 to 1, and their corruption at five strengths.

Corruptions are those of Hendrycks and Dietterich, ICLR 2019 (arXiv 1903.12261), with their strengths: of ImageNet-C for
images of more than 64 pixels, of CIFAR-10-C for smaller ones. On pixels x, each followed by clamping to 0 and 1:

* ``gaussian_noise``: x + s z, z standard normal;
* ``gaussian_blur``: a Gaussian of standard deviation s pixels, the border repeated;
* ``contrast``: m + s (x - m), m the mean of each image and channel;
* ``brightness``: the value of HSV, the largest channel, raised by s; hue and saturation stay;
* ``jpeg_compression``: saved as JPEG of quality s and read again, which takes pixels in 256 steps.

Strength 0 is the image itself.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from refconv.errors import DataError, SettingError

Corruption = Literal["gaussian_noise", "gaussian_blur", "contrast", "brightness", "jpeg_compression"]
CORRUPTIONS: tuple[Corruption, ...] = get_args(Corruption)
STRENGTHS = (0, 1, 2, 3, 4, 5)
SMALL = 64  # images whose shorter side has at most this many pixels get the strengths of CIFAR-10-C
TOLERANCE = 0.02  # of pixels outside 0 to 1, as resizing and rounding leave them

LEVELS: dict[str, dict[Corruption, tuple[float, ...]]] = {
    "ImageNet-C": {
        "gaussian_noise": (0.08, 0.12, 0.18, 0.26, 0.38),
        "gaussian_blur": (1, 2, 3, 4, 6),
        "contrast": (0.4, 0.3, 0.2, 0.1, 0.05),
        "brightness": (0.1, 0.2, 0.3, 0.4, 0.5),
        "jpeg_compression": (25, 18, 15, 10, 7),
    },
    "CIFAR-10-C": {
        "gaussian_noise": (0.04, 0.06, 0.08, 0.09, 0.1),
        "gaussian_blur": (0.4, 0.6, 0.7, 0.8, 1),
        "contrast": (0.75, 0.5, 0.4, 0.3, 0.15),
        "brightness": (0.05, 0.1, 0.15, 0.2, 0.3),
        "jpeg_compression": (80, 65, 58, 50, 40),
    },
}
"""The numbers s of strengths 1 to 5, per table."""


def valid_range(samples: Tensor, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised 0, normalised 1 and their distance, per channel, of the shape [1, channels, 1, ...].

    Samples [batch, channels, ...] that are no images under this normalisation are refused.
    """
    if not len(mean) == len(std) == samples.shape[1] or min(std) <= 0:
        expected = f"mean and std of {samples.shape[1]} channels, std above 0"
        found = f"mean {tuple(mean)}, std {tuple(std)}"
        raise DataError("the normalisation does not fit the samples", expected=expected, found=found)
    shape = (1, -1, *[1] * (samples.ndim - 2))
    shift, spread = (torch.tensor(list(values), dtype=torch.float64).reshape(shape) for values in (mean, std))
    low, high, scale = ((value / spread).to(samples) for value in (-shift, 1 - shift, torch.ones_like(spread)))
    margin = TOLERANCE * scale
    if bool((samples < low - margin).any()) or bool((samples > high + margin).any()):
        pixels = (samples - low) / scale
        expected, found = "sample * std + mean from 0 to 1", f"{float(pixels.min()):.3g} to {float(pixels.max()):.3g}"
        problem = "the samples are no images under this normalisation"
        remedy = "give the mean and std that the samples were normalised with"
        raise DataError(problem, expected=expected, found=found, remedy=remedy)
    return low, high, scale


def check_images(samples: Tensor, larger_than: int = 0) -> None:
    """Refuse samples that are not [batch, channels, height, width], each side of more than so many pixels."""
    if samples.ndim != 4 or min(samples.shape[2:]) <= larger_than:
        size = f" of more than {larger_than} pixels a side" if larger_than else ""
        expected = f"samples [batch, channels, height, width]{size}"
        raise DataError("this measure needs images", expected=expected, found=str(list(samples.shape)))


def table_for(pixels: Tensor) -> str:
    """Return the table of strengths that suits images [batch, channels, height, width]."""
    return "CIFAR-10-C" if min(pixels.shape[2:]) <= SMALL else "ImageNet-C"


def corrupt(pixels: Tensor, kind: Corruption, strength: int, *, table: str, noise: Tensor) -> Tensor:
    """Return images corrupted with the numbers of a table of :data:`LEVELS`; ``noise`` is standard normal."""
    if strength == 0:
        return pixels
    s = LEVELS[table][kind][strength - 1]
    if kind == "gaussian_noise":
        changed = pixels + s * noise
    elif kind == "gaussian_blur":
        changed = blurred(pixels, s)
    elif kind == "contrast":
        mean = pixels.mean((2, 3), keepdim=True)
        changed = mean + s * (pixels - mean)
    elif kind == "brightness":
        changed = brightened(pixels, s)
    else:
        changed = jpeg_compressed(pixels, int(s))
    return changed.clamp(0, 1)


def blurred(pixels: Tensor, sigma: float) -> Tensor:
    """Return images after a Gaussian filter, cut off at four standard deviations, the border repeated."""
    if sigma == 0:
        return pixels
    reach = int(4 * sigma + 0.5)
    taps = torch.arange(-reach, reach + 1, dtype=torch.float64)
    weights = torch.exp(-0.5 * (taps / sigma) ** 2)
    kernel = (weights / weights.sum()).to(pixels).expand(pixels.shape[1], 1, -1)
    padded = F.pad(pixels, (reach, reach, reach, reach), mode="replicate")
    rows = F.conv2d(padded, kernel[:, :, None, :], groups=pixels.shape[1])
    return F.conv2d(rows, kernel[:, :, :, None], groups=pixels.shape[1])


def brightened(pixels: Tensor, amount: float) -> Tensor:
    """Return images whose value in HSV is larger by an amount, at most 1.

    With hue and saturation kept, all channels of a pixel grow by one factor; black, which has no hue, becomes grey.
    """
    value = pixels.amax(1, keepdim=True)
    raised = (value + amount).clamp(max=1)
    return torch.where(value > 0, pixels * (raised / value.clamp(min=torch.finfo(value.dtype).tiny)), raised)


def jpeg_compressed(pixels: Tensor, quality: int) -> Tensor:
    """Return images saved as JPEG and read again."""
    if pixels.shape[1] not in {1, 3}:
        raise DataError("JPEG takes images of one channel or three", found=f"{pixels.shape[1]} channels")
    try:
        from PIL import Image
    except ImportError as error:
        raise SettingError("JPEG compression needs Pillow", remedy='pip install "refconv[analysis]"') from error
    steps = (pixels.detach().cpu().clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
    height, width, channels = steps.shape[1:]
    mode = "L" if channels == 1 else "RGB"
    found = []
    for image in steps:
        with io.BytesIO() as file:
            Image.frombytes(mode, (width, height), image.numpy().tobytes()).save(file, "JPEG", quality=quality)
            read = torch.frombuffer(bytearray(Image.open(file).convert(mode).tobytes()), dtype=torch.uint8)
        found.append(read.reshape(height, width, channels).permute(2, 0, 1))
    return torch.stack(found).to(pixels) / 255
