"""The refocusing transformation, formula (1): kernel = base + R P, and its adjoint.

Two routes compute the product R P, chosen by what is quicker to do (docs/math.md, "Routes"):
a batched GEMM over precomputed patches where blocks hold several slices, and the convolution primitive
where every slice is a block of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

CONVOLVE: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def refocus_by_patches(weight: Tensor, patches: Tensor) -> Tensor:
    """Return R P [b, m, k] as a batched product.

    Args:
        weight: refocus weight R [b, m, m * t].
        patches: P [b, m * t, k].
    """
    return weight @ patches


def refocus_by_convolution(
    weight: Tensor, blocks: Tensor, kernel_size: Sequence[int], map_size: Sequence[int]
) -> Tensor:
    """Return R P [b, m, k] as one grouped convolution over the flattened slices, as the paper writes it.

    The blocks are laid out as a single image of b * m channels; every block is a group of that convolution.

    Args:
        weight: refocus weight R [b, m, m * t].
        blocks: base B [b, m, k].
        kernel_size: taps per spatial dimension, product k.
        map_size: odd taps of the map per spatial dimension, product t.
    """
    b, m, k = blocks.shape
    image = blocks.reshape(1, b * m, *kernel_size)
    maps = weight.reshape(b * m, m, *map_size)
    padding = [(size - 1) // 2 for size in map_size]
    return CONVOLVE[len(kernel_size)](image, maps, padding=padding, groups=b).reshape(b, m, k)


def refocus_adjoint(gradient: Tensor, patches: Tensor) -> Tensor:
    """Return g P^T [b, m, m * t], the gradient by the refocus weight, from the gradient g [b, m, k] by the kernel."""
    return gradient @ patches.mT
