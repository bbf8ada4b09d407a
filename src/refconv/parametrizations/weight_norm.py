"""Weight norm: kernel = g v / |v| for every filter, direction and length trained apart.

Source: Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks,
arXiv 1602.07868. It is what ``torch.nn.utils.parametrizations.weight_norm`` computes, with one g for every output
channel; in transposed convolutions too, where torch's default goes by input channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refconv.config import TransformConfig
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform
from refconv.parametrizations.filters import filter_shape, from_filters, to_filters


@dataclass(frozen=True, kw_only=True)
class WeightNormConfig(TransformConfig):
    """The selection of layers is all there is to set; see :class:`WeightNorm`."""

    method = "weight_norm"


class WeightNorm(KernelTransform):
    """Trained directions v [experts, out, in // groups * k], the base at the start, and gains g [experts, out].

    At the start g = |v|, and v is multiplied by g / |v| = 1, so the kernel is the base bit for bit. The base itself
    serves for the start alone.
    """

    config_class = WeightNormConfig
    direction: nn.Parameter
    gain: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of directions and gains."""
        shape = filter_shape(layout)
        return {"direction": shape, "gain": shape[:2]}

    def transform(self, blocks: Tensor) -> Tensor:
        """Return v g / |v|."""
        direction = self.direction.to(blocks.dtype)
        return from_filters(direction * (self.gain.to(blocks.dtype) / _length(direction))[..., None], self.layout)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the directions to the filters of a base, and the gains to their lengths."""
        self.direction.copy_(to_filters(self.layout.to_blocks(base), self.layout))
        self.gain.copy_(_length(self.direction))


def _length(filters: Tensor) -> Tensor:
    """Return |v|; the smallest number under the root keeps value and gradient finite for filters of zeros."""
    return (filters.square().sum(-1) + torch.finfo(filters.dtype).tiny).sqrt()
