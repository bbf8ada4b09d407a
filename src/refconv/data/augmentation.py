"""What may be done to a training sample at random, and how it is done to a whole batch of tensors at once.

Each function takes samples [n, C, L] or [n, C, H, W] and uniform numbers ``u`` in [0, 1), one row per sample, and
nothing else that is random: a sample's result does not depend on the batch it is in. The tests compare each with a loop
over single samples.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from refconv.errors import SettingError

Range = tuple[float, float]

# What timm's RandomErasing draws from: Zhong et al. 2017, "Random Erasing Data Augmentation".
ERASED_AREA: Range = (0.02, 1 / 3)
ERASED_RATIO: Range = (0.3, 1 / 0.3)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Settings of augmentation, in timm's words; the default does nothing at random."""

    hflip: float = 0.0  # probability of a flip along the last dimension
    vflip: float = 0.0  # probability of a flip along the one before, of images
    pad_crop: int = 0  # zeros added on every side before a crop of the sample's size at a random place
    scale: Range | None = None  # of the area of a random resized crop, as a fraction; None crops nothing
    ratio: Range | None = None  # of the aspect ratio of that crop; from 3/4 to 4/3 by default
    auto_augment: str | None = None  # timm's policy, such as rand-m9-mstd0.5; for images read from disk only
    color_jitter: float = 0.0  # change of brightness, contrast and saturation; for images read from disk only
    re_prob: float = 0.0  # probability that a random rectangle is erased, after normalisation
    interpolation: str | None = None  # "random", or another resampling than in evaluation

    def __post_init__(self) -> None:
        for name in ("hflip", "vflip", "re_prob"):
            _require(0 <= getattr(self, name) <= 1, name, "a probability from 0 to 1", getattr(self, name))
        _require(self.pad_crop >= 0, "pad_crop", "0 or more", self.pad_crop)
        _require(self.color_jitter >= 0, "color_jitter", "0 or more", self.color_jitter)
        modes = ("bilinear", "bicubic", "nearest", "random")
        _require(self.interpolation in (None, *modes), "interpolation", ", ".join(modes), self.interpolation)
        self._check_crop()
        # timm leaves colour jitter out beside every policy but 3-Augment, and says nothing.
        jitter_counts = not (self.color_jitter and self.auto_augment) or "3a" in str(self.auto_augment)
        _require(jitter_counts, "color_jitter", "0 beside auto_augment", self.color_jitter)

    def _check_crop(self) -> None:
        scale, ratio = self.scale, self.ratio
        _require(scale is None or 0 < scale[0] <= scale[1] <= 1, "scale", "0 < low <= high <= 1", scale)
        _require(ratio is None or 0 < ratio[0] <= ratio[1], "ratio", "0 < low <= high", ratio)
        _require(ratio is None or scale is not None, "ratio", "a scale with it", f"ratio={ratio} alone")
        both = f"pad_crop={self.pad_crop} and scale={scale}"
        _require(scale is None or not self.pad_crop, "pad_crop", "one kind of random crop", both)

    @property
    def crop_ratio(self) -> Range:
        """The range of the aspect ratio of a random resized crop."""
        return self.ratio or (3 / 4, 4 / 3)


def _require(holds: bool, where: str, expected: str, found: object) -> None:
    if not holds:
        raise SettingError("invalid augmentation", where=where, expected=expected, found=f"{found!r}".strip("'"))


def flip(samples: Tensor, u: Tensor, probability: float, *, dim: int = -1) -> Tensor:
    """Reverse a dimension, by default the last, of the samples whose number, u [n], is below the probability."""
    chosen = u < probability
    return torch.where(chosen.view(-1, *[1] * (samples.ndim - 1)), samples.flip(dim), samples)


def pad_crop(samples: Tensor, u: Tensor, padding: int) -> Tensor:
    """Add zeros on every side, then cut the original size out at a random place, u [n, spatial dimensions]."""
    padded = F.pad(samples, [padding, padding] * (samples.ndim - 2))
    offsets = (u * (2 * padding + 1)).long()
    # One gather from the flattened image; a gather per dimension takes three times as long.
    places = torch.zeros(len(samples), 1, dtype=torch.int64)
    for dim, (size, full) in enumerate(zip(samples.shape[2:], padded.shape[2:], strict=True)):
        along = offsets[:, dim, None] + torch.arange(size)
        places = (places[:, :, None] * full + along[:, None]).flatten(1)
    return padded.flatten(2).gather(2, places[:, None].expand(-1, samples.shape[1], -1)).view_as(samples)


def resized_crop(samples: Tensor, u: Tensor, scale: Range, ratio: Range, mode: str) -> Tensor:
    """Cut a random box out and stretch it to the sample's size (RandomResizedCrop).

    The area is uniform in ``scale``, the logarithm of the aspect ratio (width over height) uniform in that of
    ``ratio``; a box that is too long for a side is cut to that side, where torchvision draws again. Signals
    have a length and no aspect ratio. ``u`` [n, 4]: area, aspect ratio, vertical and horizontal place.
    """
    if samples.ndim == 3:
        return resized_crop(samples[:, :, None], u, scale, ratio, mode)[:, :, 0]
    size = samples.shape[2:]
    lengths = _box(size, u, scale, ratio)
    zooms = torch.stack([length / full for length, full in zip(lengths, size, strict=True)], dim=1)
    # In grid_sample's coordinates the image spans [-1, 1], so the middle of the box may lie within 1 - zoom.
    middles = (2 * u[:, 2:] - 1) * (1 - zooms)
    theta = torch.zeros(len(samples), 2, 3)
    theta[:, 0, 0], theta[:, 1, 1] = zooms[:, 1], zooms[:, 0]
    theta[:, 0, 2], theta[:, 1, 2] = middles[:, 1], middles[:, 0]
    grid = F.affine_grid(theta, [*samples.shape], align_corners=False)
    return F.grid_sample(samples, grid, mode=mode, padding_mode="border", align_corners=False)


def erase(samples: Tensor, u: Tensor, probability: float) -> Tensor:
    """Set a random box to zero, the mean of normalised data (RandomErasing with a constant).

    ``u`` [n, 5]: whether, area, aspect ratio, vertical and horizontal place.
    """
    if samples.ndim == 3:
        return erase(samples[:, :, None], u, probability)[:, :, 0]
    size = samples.shape[2:]
    inside = (u[:, 0] < probability).view(-1, 1, 1, 1)
    for dim, (full, length) in enumerate(zip(size, _box(size, u[:, 1:], ERASED_AREA, ERASED_RATIO), strict=True)):
        length = length.round().clamp(1, full).long()
        start = (u[:, 3 + dim] * (full - length + 1)).long()
        place = torch.arange(full)
        along = (place >= start[:, None]) & (place < (start + length)[:, None])
        shape = [len(samples), 1, 1, 1]
        shape[2 + dim] = full
        inside = inside & along.view(shape)
    return samples.masked_fill(inside, 0)


def _box(size: torch.Size, u: Tensor, scale: Range, ratio: Range) -> tuple[Tensor, Tensor]:
    """Return heights and widths [n] of boxes with random area and aspect ratio, cut to the image."""
    height, width = size
    area = (scale[0] + u[:, 0] * (scale[1] - scale[0])) * height * width
    if height == 1:
        return torch.ones(len(u)), area
    low, high = math.log(ratio[0]), math.log(ratio[1])
    root = torch.exp((low + u[:, 1] * (high - low)) / 2)
    return (area.sqrt() / root).clamp(max=height), (area.sqrt() * root).clamp(max=width)
