"""Low rank: kernel = base + scale * U V, convolutional LoRA.

The filters of a layer form a matrix [out, in // groups * k], one row for each output channel. Its change is a product
of U [out, r] and V [r, in // groups * k]: a convolution to r channels with the taps of the kernel, followed by a
pointwise one.

Source: LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685, for U V and its start; for convolutions
ConvLoRA and AdaBN based Domain Adaptation via Self-Training, arXiv 2402.04964, and Distillation-Supervised
Convolutional Low-Rank Adaptation for Efficient Image Super-Resolution (DSCLoRA), arXiv 2504.11271.

Note [Factors]: those papers fold the taps into both factors, [out * K, r K] times [r K, in * K], which needs square
kernels. Here V keeps the taps and U mixes channels, which holds for kernels of any shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
from torch import Tensor, nn

from refconv.config import TransformConfig, setting
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform
from refconv.parametrizations.filters import filter_shape, from_filters


@dataclass(frozen=True, kw_only=True)
class LowRankConfig(TransformConfig):
    """Rank r and scale of the product; see :class:`LowRank`."""

    method = "low_rank"

    rank: int = setting("rank r; cut to the smaller side of the matrix, which reaches every kernel", 4, least=1)
    scale: float = setting("factor of the product", 1.0, above=0)


class LowRank(KernelTransform):
    """A trained product of two thin matrices, added to the filters: ``up`` U, zero at the start, and ``down`` V.

    V starts uniform within 1 / sqrt(in // groups * k), as torch starts a convolution of that fan-in.
    """

    config_class = LowRankConfig
    config: LowRankConfig
    size = "rank"
    up: nn.Parameter
    down: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of both factors."""
        experts, out, inner = filter_shape(layout)
        rank = min(config.rank, out, inner)
        return {"up": (experts, out, rank), "down": (experts, rank, inner)}

    def transform(self, blocks: Tensor) -> Tensor:
        """Return base + scale * U V."""
        change: Tensor = self.config.scale * (self.up.to(blocks.dtype) @ self.down.to(blocks.dtype))
        return blocks + from_filters(change, self.layout)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set U to zero and draw V anew."""
        self.up.zero_()
        bound = 1 / sqrt(self.down.shape[-1])
        self.down.uniform_(-bound, bound)
