"""What may be done to a training sample at random, as the recipe says it."""

from __future__ import annotations

import dataclasses

from refconv.errors import SettingError

Range = tuple[float, float]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Settings of augmentation, in timm's words; the default does nothing at random.

    Attributes:
        hflip: probability of a flip along the last dimension.
        pad_crop: zeros added on every side before a crop of the sample's size at a random place.
        scale: range of the area of a random resized crop, as a fraction; None crops nothing.
        ratio: range of the aspect ratio of that crop; from 3/4 to 4/3 by default.
        auto_augment: timm's policy, such as ``rand-m9-mstd0.5``; for images read from disk only.
        color_jitter: strength of the change of brightness, contrast and saturation; from disk only.
        re_prob: probability that a random rectangle is erased, after normalisation.
        interpolation: ``random``, or another resampling than in evaluation; None takes that of evaluation.
    """

    hflip: float = 0.0
    pad_crop: int = 0
    scale: Range | None = None
    ratio: Range | None = None
    auto_augment: str | None = None
    color_jitter: float = 0.0
    re_prob: float = 0.0
    interpolation: str | None = None

    def __post_init__(self) -> None:
        for name in ("hflip", "re_prob"):
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
