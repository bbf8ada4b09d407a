"""How near a restored image is to the clean one, measured as papers on restoration measure it.

Note [as the field does]: images are cut off to [0, 1] and rounded to 8 bits first, and a border is left out where the
result is enlarged. Denoised colour images are compared in all three channels (CBSD68, Kodak24, McMaster); enlarged ones
in luma alone, the Y of ITU-R BT.601 with its footroom (MATLAB's ``rgb2ycbcr``, not rounded again, as BasicSR has it).
Noise that is independent in the channels is weaker in their weighted sum, so luma gives 3 to 4 dB more for the same
image. All in float64.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from refconv.tasks.restoration.degradation import LEVELS, rounded

# ITU-R BT.601 for values in [0, 1]: Y = 16 + 65.481 R + 128.553 G + 24.966 B.
_OFFSET = 16.0
_WEIGHTS = (65.481, 128.553, 24.966)

# Wang, Bovik, Sheikh and Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity".
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * LEVELS) ** 2, (0.03 * LEVELS) ** 2


Channel = Literal["rgb", "luma", "grey"]
"""What of an image is compared: all channels of a colour image, its luma, or the values of a grey one."""


def field_channel(in_chans: int, upscale: int) -> Channel:
    """Return in which channel the field compares restored images.

    Args:
        in_chans: channels of the images, 1 or 3.
        upscale: how many times larger the result is; 1 where noise is removed.

    Example:
        >>> field_channel(3, 1), field_channel(3, 2), field_channel(1, 2)
        ('rgb', 'luma', 'grey')
    """
    if in_chans == 1:
        return "grey"
    return "luma" if upscale > 1 else "rgb"


def compared(image: Tensor, channel: Channel) -> Tensor:
    """Return what is compared of an image, in 8-bit steps.

    Args:
        image: values in [0, 1], [1, H, W] or [3, H, W].
        channel: what of it.

    Returns:
        float64 [C, H, W], where luma has one channel.
    """
    return luma(image)[None] if channel == "luma" else rounded(image.double()) * LEVELS


def luma(image: Tensor) -> Tensor:
    """Return the luma in 8-bit steps: Y of a colour image [16, 235], the values of a grey one [0, 255].

    Args:
        image: values in [0, 1], [1, H, W] or [3, H, W].

    Returns:
        float64 [H, W].

    Example:
        >>> luma(torch.ones(3, 1, 1)).item(), luma(torch.zeros(3, 1, 1)).item()
        (235.0, 16.0)
    """
    eight_bit = rounded(image.double())
    if len(image) == 1:
        return eight_bit[0] * LEVELS
    weights = torch.tensor(_WEIGHTS, dtype=torch.float64, device=image.device)
    return _OFFSET + (weights[:, None, None] * eight_bit).sum(0)


def psnr(image: Tensor, clean: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB, ``10 log10(255^2 / mean squared difference)``; infinite if equal.

    Args:
        image: float64 [..., H, W] in 8-bit steps, as :func:`compared` gives it; the mean is over all channels.
        clean: the same.
    """
    error = float((image - clean).square().mean())
    return 10 * math.log10(LEVELS**2 / error) if error else math.inf


def ssim(image: Tensor, clean: Tensor) -> float:
    """Return the mean structural similarity, 1 for equal images.

    A Gaussian window of 11 x 11 with standard deviation 1.5, only where it lies inside the image; variances are divided
    by the weights' sum, with no correction for the sample. Of several channels the mean.

    Args:
        image: float64 [..., H, W] in 8-bit steps, as :func:`compared` gives it; both sides at least 11.
        clean: the same.
    """
    assert min(image.shape[-2:]) >= _WINDOW, image.shape
    distance = torch.arange(_WINDOW, dtype=torch.float64, device=image.device) - _WINDOW // 2
    weights = torch.exp(-(distance**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    products = torch.stack([image, clean, image * image, clean * clean, image * clean])
    planes = products.reshape(-1, 1, *image.shape[-2:])
    x, y, xx, yy, xy = F.conv2d(F.conv2d(planes, weights[None, None, :, None]), weights[None, None, None, :]).chunk(5)
    similarity = (2 * x * y + _C1) * (2 * (xy - x * y) + _C2)
    similarity = similarity / ((x * x + y * y + _C1) * ((xx - x * x) + (yy - y * y) + _C2))
    return float(similarity.mean())


def without_border(image: Tensor, border: int) -> Tensor:
    """Return the image without so many pixels on every side.

    Args:
        image: [..., H, W].
        border: pixels.
    """
    return image[..., border : image.shape[-2] - border, border : image.shape[-1] - border]
