"""Refocus: kernel = base + R P / c, the re-parameterized refocusing convolution.

Source: RefConv: Re-parameterized Refocusing Convolution for Powerful ConvNets, arXiv 2310.10563, section 3; IEEE
TNNLS 36(6), 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, ClassVar

import torch
from torch import Tensor

from refconv.config import RefocusConfig, Start
from refconv.ops import Layout, amplified, effective_map_size, patches, refocus_by_convolution, scaling, shaped_patches
from refconv.parametrizations.base import ForwardScope, KernelTransform


class Refocus(KernelTransform):
    """The refocusing transformation of one layer.

    Its one parameter is the refocus weight R [blocks, m, m * t], for blocks of m slices and a map of t taps. The
    paper's weights, [slices, m, *map], are the same numbers in the same order.

    Note [Zero start]: the paper's release starts R like any convolution, which changes the pretrained function at
    once; here the default is zeros, so training starts from exactly the pretrained network.

    Note [Scale]: the release has no scale, and its refocus weights move the kernels of depthwise layers hundreds of
    times as fast as plain training does. Here the default caps the speed at that of plain training.
    """

    config_class = RefocusConfig
    config: RefocusConfig
    size = "map_size"
    computed: ClassVar[tuple[str, ...]] = ("patches", "divisor", "gain")
    patches: Tensor | None
    divisor: Tensor | None
    gain: Tensor | None

    def __init__(self, layer: str, base: Tensor, layout: Layout, scope: ForwardScope, config: RefocusConfig) -> None:
        super().__init__(layer, base, layout, scope, config)
        weight = self.refocus_weight
        weight.data = first_weight(layout, self.map_size, config.start, dtype=weight.dtype, device=weight.device)

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of the refocus weight, after a check that the map fits the kernel's dimensions."""
        b, m, _ = layout.block_shape
        return {"refocus_weight": (b, m, m * prod(effective_map_size(layout.kernel_size, config.map_size)))}

    @classmethod
    def sized(cls, step: int) -> int:
        """Return the map sizes 1, 3, 5, ..."""
        return 2 * step - 1

    @property
    def by_convolution(self) -> bool:
        """Whether R P is computed by the convolution primitive instead of a GEMM over stored patches.

        For blocks of one slice that is quicker (docs/math.md, "Routes"). Other powers than one need the patches.
        """
        return self.layout.groups == 1 and self.config.power == 1

    def prepare(self, base: Tensor) -> None:
        """Compute and store the scale and, but for blocks of one slice, the patches of a base (in float64)."""
        if self.by_convolution and self.config.scale == "paper":
            return
        dtype, sizes = self.refocus_weight.dtype, (self.layout.kernel_size, self.map_size)
        blocks = self.source(self.layout.to_blocks(base.detach().double()))
        scales = None
        if self.config.scale != "paper":
            scales = scaling(blocks, *sizes, scale=self.config.scale, power=self.config.power)
            self.gain = scales.gain.to(dtype) if self.config.scale == "capped" else None
        if self.by_convolution:
            self.divisor = None if scales is None else scales.sign.to(dtype)
            return
        unfolded = shaped_patches(patches(blocks, *sizes), self.config.power)
        self.patches = (unfolded if scales is None else unfolded / scales.sign).to(dtype)

    def transform(self, blocks: Tensor) -> Tensor:
        """Return base + R P / c_A for the blocks [b, m, k] of the base."""
        weight = self.refocus_weight.to(blocks.dtype)
        if self.patches is not None:
            moved = weight @ self.patches.to(blocks.dtype)
        else:
            source = self.source(blocks)
            if self.divisor is not None:
                source = source / self.divisor.to(blocks.dtype)
            moved = refocus_by_convolution(weight, source, self.layout.kernel_size, self.map_size)
        return blocks + (moved if self.gain is None else amplified(moved, self.gain.to(blocks.dtype)))

    def source(self, blocks: Tensor) -> Tensor:
        """Return what P is made of, [b, m, k]: the base itself."""
        return blocks


def first_weight(
    layout: Layout, map_size: Sequence[int], start: Start, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the refocus weight [b, m, m * t] that training starts from.

    The start ``kaiming``, as released, is uniform within 1 / sqrt(m * t), from torch's global generator.
    """
    b, m, _ = layout.block_shape
    weight = torch.zeros(b, m, m * prod(map_size), dtype=dtype, device=device)
    if start == "kaiming":
        bound = 1 / sqrt(weight.shape[-1])
        weight.uniform_(-bound, bound)
    return weight
