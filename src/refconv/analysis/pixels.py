"""Normalised samples as the images that they were made of: pixels from 0 to 1."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refconv.errors import DataError

TOLERANCE = 0.02
"""Of pixels outside 0 to 1, as resizing and rounding leave them."""


def valid_range(samples: Tensor, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return normalised 0, normalised 1 and their distance, per channel, of the shape [1, channels, 1, ...].

    Args:
        samples: a batch [batch, channels, ...], normalised.
        mean: per channel, of the normalisation: sample = (pixel - mean) / std.
        std: per channel.

    Raises:
        DataError: if mean and std are not of these channels, or do not bring the samples to images.
    """
    if not len(mean) == len(std) == samples.shape[1] or min(std) <= 0:
        raise DataError(
            "the normalisation does not fit the samples",
            expected=f"mean and std of {samples.shape[1]} channels, std above 0",
            found=f"mean {tuple(mean)}, std {tuple(std)}",
        )
    shape = (1, -1, *[1] * (samples.ndim - 2))
    shift, spread = (torch.tensor(list(values), dtype=torch.float64).reshape(shape) for values in (mean, std))
    low, high, scale = ((value / spread).to(samples) for value in (-shift, 1 - shift, torch.ones_like(spread)))
    margin = TOLERANCE * scale
    if bool((samples < low - margin).any()) or bool((samples > high + margin).any()):
        pixels = (samples - low) / scale
        raise DataError(
            "the samples are no images under this normalisation",
            expected="sample * std + mean from 0 to 1",
            found=f"{float(pixels.min()):.3g} to {float(pixels.max()):.3g}",
            remedy="give the mean and std that the samples were normalised with",
        )
    return low, high, scale


def check_images(samples: Tensor, larger_than: int = 0) -> None:
    """Check that samples are images.

    Args:
        samples: a batch.
        larger_than: pixels that each side must exceed.

    Raises:
        DataError: if they are not [batch, channels, height, width], or too small.
    """
    if samples.ndim != 4 or min(samples.shape[2:]) <= larger_than:
        size = f" of more than {larger_than} pixels a side" if larger_than else ""
        raise DataError(
            "this measure needs images",
            expected=f"samples [batch, channels, height, width]{size}",
            found=str(list(samples.shape)),
        )
