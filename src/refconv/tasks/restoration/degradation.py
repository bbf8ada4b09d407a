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

    Attributes:
        noise: noise level (0-255): the standard deviation, in steps of an 8-bit image.
        upscale: how many times the restored image is larger than the input, per side.

    Raises:
        SettingError: if a value is impossible, or nothing would be done.

    Example:
        >>> Degradation(upscale=2)(torch.rand(3, 8, 6), seed=0).shape
        torch.Size([3, 4, 3])
    """

    noise: float = 0.0
    upscale: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.noise <= LEVELS:
            raise SettingError("impossible noise", where="noise", expected=f"0 to {LEVELS}", found=f"{self.noise:g}")
        if 0 < self.noise < 1:
            raise SettingError(
                "less noise than one step of an 8-bit image",
                where="noise",
                expected="0, or 1 and more",
                found=f"{self.noise:g}",
                remedy=f"noise is given of {LEVELS}: for {self.noise:g} of the whole range, {LEVELS * self.noise:g}",
            )
        if self.upscale not in UPSCALES:
            expected = ", ".join(map(str, UPSCALES))
            raise SettingError("impossible factor", where="upscale", expected=expected, found=str(self.upscale))
        if not self.noise and self.upscale == 1:
            raise SettingError(
                "nothing to restore",
                where="noise",
                expected="noise > 0 or upscale > 1",
                found="noise=0 and upscale=1",
                remedy="give, for example, noise=25 to remove noise or upscale=2 to enlarge",
            )

    @property
    def margin(self) -> int:
        """Pixels around a part of a clean image on which that part of the degraded one depends."""
        return 2 * self.upscale if self.upscale > 1 else 0

    def __call__(self, clean: Tensor, *, seed: int) -> Tensor:
        """Return the degraded image [C, H / upscale, W / upscale].

        Small images are rounded to 8 bits, as the field stores them. Noise is neither rounded nor cut off, as the
        field adds it.

        Args:
            clean: values in [0, 1], [C, H, W], both sides multiples of ``upscale``.
            seed: of the noise.
        """
        return self.noisy(self.shrunk(clean), seed=seed)

    def shrunk(self, clean: Tensor) -> Tensor:
        """Return the small image, or the image itself.

        Args:
            clean: values in [0, 1], [C, H, W], both sides multiples of ``upscale``.
        """
        if self.upscale == 1:
            return clean
        height, width = clean.shape[-2:]
        assert height % self.upscale == 0 == width % self.upscale, (height, width, self.upscale)
        return rounded(resized(clean, height // self.upscale, width // self.upscale))

    def noisy(self, image: Tensor, *, seed: int) -> Tensor:
        """Return the image with noise.

        Args:
            image: values in [0, 1], [C, H, W].
            seed: of the noise.
        """
        if not self.noise:
            return image
        generator = torch.Generator().manual_seed(derive_seed("noise", seed))
        return image + torch.randn(image.shape, generator=generator).to(image.dtype) * (self.noise / LEVELS)


def rounded(image: Tensor) -> Tensor:
    """Return the values that an 8-bit image can hold: cut off to [0, 1] and rounded to multiples of 1 / 255.

    Args:
        image: any shape.
    """
    return (image * LEVELS).round().clamp(0, LEVELS) / LEVELS


def cropped_to_multiple(image: Tensor, multiple: int) -> Tensor:
    """Return the image without the last rows and columns that make its sides no multiples.

    Args:
        image: [..., H, W].
        multiple: the number that shall divide both sides.
    """
    height, width = image.shape[-2:]
    return image[..., : height - height % multiple, : width - width % multiple]
