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
        ratio: range of the aspect ratio of that crop.
        auto_augment: timm's policy, such as ``rand-m9-mstd0.5``; for images read from disk only.
        color_jitter: strength of the change of brightness, contrast and saturation; from disk only.
        re_prob: probability that a random rectangle is erased, after normalisation.
        interpolation: ``bilinear``, ``bicubic``, ``nearest``, or ``random`` while training.
        crop_pct: what an evaluated image keeps of its shorter side; from disk only.
    """

    hflip: float = 0.0
    pad_crop: int = 0
    scale: Range | None = None
    ratio: Range = (3 / 4, 4 / 3)
    auto_augment: str | None = None
    color_jitter: float | None = None
    re_prob: float = 0.0
    interpolation: str = "bilinear"
    crop_pct: float | None = None

    def __post_init__(self) -> None:
        for name in ("hflip", "re_prob"):
            _require(0 <= getattr(self, name) <= 1, name, "a probability from 0 to 1", getattr(self, name))
        _require(self.pad_crop >= 0, "pad_crop", "0 or more", self.pad_crop)
        if self.scale is not None:
            _require(0 < self.scale[0] <= self.scale[1] <= 1, "scale", "0 < low <= high <= 1", self.scale)
            _require(
                not self.pad_crop,
                "pad_crop",
                "one kind of random crop",
                f"pad_crop={self.pad_crop} and scale={self.scale}",
            )
        _require(0 < self.ratio[0] <= self.ratio[1], "ratio", "0 < low <= high", self.ratio)
        _require(
            self.color_jitter is None or self.color_jitter >= 0,
            "color_jitter",
            "0 or more",
            self.color_jitter,
        )
        _require(self.crop_pct is None or 0 < self.crop_pct <= 1, "crop_pct", "0 < crop_pct <= 1", self.crop_pct)
        _require(
            self.interpolation in {"bilinear", "bicubic", "nearest", "random"},
            "interpolation",
            "bilinear, bicubic, nearest or random",
            self.interpolation,
        )


def _require(holds: bool, where: str, expected: str, found: object) -> None:
    if not holds:
        raise SettingError("impossible augmentation", where=where, expected=expected, found=f"{found!r}".strip("'"))
