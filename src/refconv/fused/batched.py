"""g G of many slices by a few operations of torch, for accelerators without Triton."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor


def by_shifts(
    gradient: Tensor, base: Tensor, kernel_size: Sequence[int], map_size: Sequence[int], root: Tensor | None = None
) -> Tensor:
    """Return (g P^T) P / c_S^2 [b, 1, k] for blocks of one slice, shift by shift.

    Two passes over the shifted base for each tap of the map, however many layers the slices are of: 3 t + 1 launches,
    and twice the memory of the slices beside them.
    """
    shape = gradient.shape
    own = gradient.reshape(-1, *kernel_size)
    sides = [side for size in reversed(map_size) for side in [size // 2] * 2]
    padded = F.pad(base.reshape(-1, *kernel_size) if root is None else (base / root).reshape(-1, *kernel_size), sides)
    taps = tuple(range(1, own.ndim))
    out = torch.zeros_like(own)
    for shift in product(*map(range, map_size)):
        window = slice(None), *(slice(d, d + k) for d, k in zip(shift, kernel_size, strict=True))
        patch = padded[window]
        out.addcmul_((own * patch).sum(taps, keepdim=True), patch)
    return out.reshape(shape)
