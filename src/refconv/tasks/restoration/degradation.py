"""What is done to a clean image to make the input of a restorer: shrink it, add noise to it.

Images are resized as the field does it, see :mod:`refconv.data.resizing`.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from refconv.data.resizing import resized
from refconv.errors import SettingError
from refconv.process.randomness import derive_seed

UPSCALES = (1, 2, 3, 4)

LEVELS = 255
"""Values of an 8-bit image run from 0 to this."""


@dataclasses.dataclass(frozen=True)
class Degradation:
    """Shrink by a whole number, then add Gaussian noise; both are optional, one of them must be there.

    ``noise`` is its standard deviation in steps of an 8-bit image (0-255); ``upscale`` says how many times larger, per
    side, the restored image is than the input.

    Example:
        >>> Degradation(upscale=2)(torch.rand(3, 8, 6), seed=0).shape
        torch.Size([3, 4, 3])
    """

    noise: float = 0.0
    upscale: int = 1

    def __post_init__(self) -> None:
        level = f"{self.noise:g}"
        if not 0 <= self.noise <= LEVELS:
            raise SettingError("noise level out of range", where="noise", expected=f"0 to {LEVELS}", found=level)
        if 0 < self.noise < 1:
            raise SettingError(
                "noise level below one step of an 8-bit image",
                where="noise",
                expected="0, or 1 and more",
                found=level,
                remedy=f"it runs from 0 to {LEVELS}: for {level} of the whole range give {LEVELS * self.noise:g}",
            )
        if self.upscale not in UPSCALES:
            expected = ", ".join(map(str, UPSCALES))
            what = "unsupported upscaling factor"
            raise SettingError(what, where="upscale", expected=expected, found=str(self.upscale))
        if not self.noise and self.upscale == 1:
            raise SettingError(
                "nothing to restore",
                where="noise",
                expected="noise > 0 or upscale > 1",
                found="noise=0 and upscale=1",
                remedy="give, for example, noise=25 to remove noise or upscale=2 to enlarge",
            )

    @property
    def border(self) -> int:
        """Pixels on every side of the restored image that are not compared."""
        return self.upscale if self.upscale > 1 else 0

    @property
    def margin(self) -> int:
        """Pixels around a part of a clean image on which that part of the degraded one depends."""
        return 2 * self.border

    def __call__(self, clean: Tensor, *, seed: int) -> Tensor:
        """Return the degraded image [C, H / upscale, W / upscale] of a clean one with values in [0, 1].

        Small images are rounded to 8 bits, as the field stores them. Noise is neither rounded nor cut off.
        """
        return self.noisy(self.shrunk(clean), seed=seed)

    def shrunk(self, clean: Tensor) -> Tensor:
        """Return the small image of one [C, H, W] whose sides are multiples of ``upscale``, or the image itself."""
        if self.upscale == 1:
            return clean
        height, width = clean.shape[-2:]
        assert height % self.upscale == 0 == width % self.upscale, (height, width, self.upscale)
        return rounded(resized(clean, height // self.upscale, width // self.upscale))

    def noisy(self, image: Tensor, *, seed: int) -> Tensor:
        """Return the image with noise."""
        if not self.noise:
            return image
        generator = torch.Generator().manual_seed(derive_seed("noise", seed))
        return image + torch.randn(image.shape, generator=generator).to(image.dtype) * (self.noise / LEVELS)


def rounded(image: Tensor) -> Tensor:
    """Return the values that an 8-bit image can hold: cut off to [0, 1] and rounded to multiples of 1 / 255."""
    return (image * LEVELS).round().clamp(0, LEVELS) / LEVELS


def cropped_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Return an image [..., H, W] without the last rows and columns that make its sides no multiples."""
    height, width = image.shape[-2:]
    return image[..., : height - height % multiple, : width - width % multiple]
