"""The bicubic resizing of restoration, of images [C, H, W] or [n, C, H, W].

Note [bicubic]: the field shrinks with MATLAB's ``imresize``: cubic convolution with a = -0.5 (Keys 1981, "Cubic
convolution interpolation for digital image processing"), widened by the factor against aliasing. torch's
``antialias=True`` uses the same kernel, and for enlarging too, where ``antialias=False`` would take a = -0.75. The two
agree to rounding but for the outermost two small pixels, where MATLAB mirrors the image and torch renormalises what is
left of the kernel. Evaluation leaves a border out, and the same image is given to every model that is compared.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def enlarged(image: Tensor, upscale: int) -> Tensor:
    """Return a bicubically enlarged image, or the image itself for a factor of 1."""
    return image if upscale == 1 else resized(image, image.shape[-2] * upscale, image.shape[-1] * upscale)


def resized(image: Tensor, height: int, width: int) -> Tensor:
    """Return the image in another size, by antialiased cubic convolution; see Note [bicubic]."""
    batch = image if image.dim() == 4 else image[None]
    result = F.interpolate(batch, size=(height, width), mode="bicubic", antialias=True, align_corners=False)
    return result if image.dim() == 4 else result[0]
