"""How near restored images come to the clean ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from refconv.data.resizing import enlarged
from refconv.tasks.evaluation import Evaluation
from refconv.tasks.restoration.data import border
from refconv.tasks.restoration.image_quality import Channel, compared, psnr, ssim, without_border

CHANNEL_NAMES = {"rgb": "RGB", "luma": "luma", "grey": "grey"}


@dataclass(frozen=True)
class RestorationEvaluation(Evaluation):
    """How near restored images come to the clean ones: means over images.

    Measured on 8-bit images without a border of ``upscale`` pixels, in the channel that the field uses: RGB where
    noise is removed, luma where images are enlarged; see :mod:`refconv.tasks.restoration.image_quality`. Colour images
    are measured in the other one of the two as well.

    Attributes:
        samples: how many images.
        psnr: peak signal-to-noise ratio in ``channel``, dB.
        ssim: structural similarity in ``channel``, at most 1.
        loss: mean absolute difference of the values in [0, 1], neither rounded nor cut off.
        input_psnr: of the input itself, bicubically enlarged where the result is larger: what a network must beat.
        input_ssim: the same.
        enlarged: whether the network was given the bicubically enlarged image.
        channel: ``rgb``, ``luma`` or ``grey``: what ``psnr``, ``ssim``, ``input_psnr`` and ``input_ssim`` compare.
        psnr_rgb: as ``psnr``, of all three channels; None where ``psnr`` is that, or images are grey.
        ssim_rgb: as ``ssim``, the mean over the three channels; the same.
        psnr_luma: as ``psnr``, of the luma; None where ``psnr`` is that, or images are grey.
        ssim_luma: as ``ssim``, of the luma; the same.
    """

    psnr: float
    ssim: float
    loss: float
    input_psnr: float
    input_ssim: float
    enlarged: bool = False
    channel: Channel = "luma"
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
    output: Tensor, sample: Tensor, target: Tensor, upscale: int, channels: tuple[Channel, Channel]
) -> tuple[float, ...]:
    """Return PSNR, SSIM and loss of a restored image, both of its input, and both of the result in a second channel.

    Args:
        output: [1, C, H, W].
        sample: the input, [1, C, h, w].
        target: the clean image, [C, H, W].
        upscale: how many times larger the result is.
        channels: the first and the second one in which images are compared.
    """
    output, target = output[0].float().cpu(), target.cpu()
    baseline = enlarged(sample, upscale)[0].float().cpu()

    def near(image: Tensor, channel: Channel) -> tuple[float, float]:
        pair = [without_border(compared(values, channel), border(upscale)) for values in (image, target)]
        return psnr(pair[0], pair[1]), ssim(pair[0], pair[1])

    first, second = channels
    loss = float(F.l1_loss(output, target))
    return (*near(output, first), loss, *near(baseline, first), *near(output, second))
