"""How near restored images come to the clean ones, measured as papers on restoration measure it.

Note [as the field does]: images are cut off to [0, 1] and rounded to 8 bits first, and a border is left out where the
result is enlarged. Denoised colour images are compared in all three channels (CBSD68, Kodak24, McMaster); enlarged ones
in luma alone, the Y of ITU-R BT.601 with its footroom (MATLAB's ``rgb2ycbcr``, not rounded again, as BasicSR has it).
Noise that is independent in the channels is weaker in their weighted sum, so luma gives 3 to 4 dB more for the same
image. All in float64.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from refconv.data.resizing import enlarged
from refconv.tasks.evaluation import Evaluation
from refconv.tasks.restoration.data import LEVELS, Degradation, rounded

# ITU-R BT.601 for values in [0, 1]: Y = 16 + 65.481 R + 128.553 G + 24.966 B.
_OFFSET = 16.0
_WEIGHTS = (65.481, 128.553, 24.966)

# Wang, Bovik, Sheikh and Simoncelli 2004, "Image quality assessment: from error visibility to structural similarity".
_WINDOW, _SIGMA = 11, 1.5
_C1, _C2 = (0.01 * LEVELS) ** 2, (0.03 * LEVELS) ** 2


Channel = Literal["rgb", "luma", "grey"]
"""What of an image is compared: all channels of a colour image, its luma, or the values of a grey one."""
CHANNEL_NAMES = {"rgb": "RGB", "luma": "luma", "grey": "grey"}


@dataclass(frozen=True)
class RestorationEvaluation(Evaluation):
    """How near restored images come to the clean ones: means over images.

    Measured on 8-bit images without a border of ``upscale`` pixels, in the channel that the field uses: RGB where noise
    is removed, luma where images are enlarged. Colour images are measured in the other one of the two as well.
    """

    psnr: float  #: peak signal-to-noise ratio in ``channel``, dB
    ssim: float  #: structural similarity in ``channel``, at most 1
    loss: float  #: mean absolute difference of the values in [0, 1], neither rounded nor cut off
    input_psnr: float  #: of the input itself, bicubically enlarged where the result is larger: what a network must beat
    input_ssim: float
    enlarged: bool = False  #: whether the network was given the bicubically enlarged image
    channel: Channel = "luma"
    #: in the other channel, like the following; None where ``channel`` is that, or images are grey
    psnr_rgb: float | None = None
    ssim_rgb: float | None = None
    psnr_luma: float | None = None
    ssim_luma: float | None = None

    def measures(self) -> dict[str, float]:
        """Return what was measured, by name; an infinite ratio, of equal images, is left out."""
        return {
            name: value for name, value in super().measures().items() if name != "enlarged" and math.isfinite(value)
        }

    def __str__(self) -> str:
        other = ""
        for channel, value in (("rgb", self.psnr_rgb), ("luma", self.psnr_luma)):
            if value is not None:
                other = f", {CHANNEL_NAMES[channel]} {value:.2f} dB"
        own = CHANNEL_NAMES[self.channel]
        return (
            f"PSNR {self.psnr:.2f} dB ({own}{other})  SSIM {self.ssim:.4f}  loss {self.loss:.4f}  on "
            f"{self.samples:,} images (input: {self.input_psnr:.2f} dB, {self.input_ssim:.4f})"
        )


def scores_of(
    output: Tensor, sample: Tensor, target: Tensor, degradation: Degradation, channels: tuple[Channel, Channel]
) -> tuple[float, ...]:
    """Return PSNR, SSIM and loss of a restored image, both of its input, and both of the result in a second channel.

    ``output`` is [1, C, H, W], ``sample`` the input [1, C, h, w], ``target`` the clean image [C, H, W].
    """
    output, target = output[0].float().cpu(), target.cpu()
    baseline = enlarged(sample, degradation.upscale)[0].float().cpu()

    def near(image: Tensor, channel: Channel) -> tuple[float, float]:
        border, (height, width) = degradation.border, image.shape[-2:]
        inner = (..., slice(border, height - border), slice(border, width - border))
        restored, clean = (compared(values, channel)[inner] for values in (image, target))
        return psnr(restored, clean), ssim(restored, clean)

    first, second = channels
    return (*near(output, first), float(F.l1_loss(output, target)), *near(baseline, first), *near(output, second))


def field_channel(in_chans: int, upscale: int) -> Channel:
    """Return in which channel the field compares restored images."""
    if in_chans == 1:
        return "grey"
    return "luma" if upscale > 1 else "rgb"


def compared(image: Tensor, channel: Channel) -> Tensor:
    """Return what is compared of an image [C, H, W] in [0, 1], in 8-bit steps: float64, of luma [1, H, W]."""
    return luma(image)[None] if channel == "luma" else rounded(image.double()) * LEVELS


def luma(image: Tensor) -> Tensor:
    """Return the luma, float64 [H, W] in 8-bit steps: Y of a colour image (16 to 235), values of a grey one."""
    eight_bit = rounded(image.double())
    if len(image) == 1:
        return eight_bit[0] * LEVELS
    weights = torch.tensor(_WEIGHTS, dtype=torch.float64, device=image.device)
    return _OFFSET + (weights[:, None, None] * eight_bit).sum(0)


def psnr(image: Tensor, clean: Tensor) -> float:
    """Return the peak signal-to-noise ratio in dB, ``10 log10(255^2 / mean squared difference)``; infinite if equal.

    Images are float64 [..., H, W], as :func:`compared` gives them; the mean is over all channels.
    """
    error = float((image - clean).square().mean())
    return 10 * math.log10(LEVELS**2 / error) if error else math.inf


def ssim(image: Tensor, clean: Tensor) -> float:
    """Return the mean structural similarity of images as for :func:`psnr`, 1 for equal ones, the mean over channels.

    A Gaussian window of 11 x 11 with standard deviation 1.5, only where it lies inside the image; variances are divided
    by the weights' sum, with no correction for the sample.
    """
    assert min(image.shape[-2:]) >= _WINDOW, image.shape
    distance = torch.arange(_WINDOW, dtype=torch.float64, device=image.device) - _WINDOW // 2
    weights = torch.exp(-(distance**2) / (2 * _SIGMA**2))
    weights /= weights.sum()
    planes = torch.stack([image, clean, image * image, clean * clean, image * clean]).reshape(-1, 1, *image.shape[-2:])
    x, y, xx, yy, xy = F.conv2d(F.conv2d(planes, weights[None, None, :, None]), weights[None, None, None, :]).chunk(5)
    similarity = (2 * x * y + _C1) * (2 * (xy - x * y) + _C2)
    similarity = similarity / ((x * x + y * y + _C1) * ((xx - x * x) + (yy - y * y) + _C2))
    return float(similarity.mean())
