"""Standardize: kernel = g (v - mean(v)) / std(v) + s for every filter, weight standardization.

Source: Micro-Batch Training with Batch-Channel Normalization and Weight Standardization, arXiv 1903.10520.

Note [Start]: there g = 1 and s = 0, which changes a pretrained function. Here both are trained, from the standard
deviation and the mean of the pretrained filter, so that training starts from that filter.
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

_EPSILON = 1e-10
"""Under the root, for filters of equal entries, which have no deviation."""


@dataclass(frozen=True, kw_only=True)
class StandardizeConfig(TransformConfig):
    """The selection of layers is all there is to set; see :class:`Standardize`."""

    method = "standardize"


class Standardize(KernelTransform):
    """Trained filters v [experts, out, in // groups * k], the base at the start; gains g and shifts s [experts, out].

    The formula is computed as v r + (s - mean(v) r) with r = g / std(v): at the start r is one and the bracket zero,
    so the kernel is the base bit for bit. The base itself serves for the start alone.
    """

    config_class = StandardizeConfig
    filters: nn.Parameter
    gain: nn.Parameter
    shift: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of filters, gains and shifts."""
        shape = filter_shape(layout)
        return {"filters": shape, "gain": shape[:2], "shift": shape[:2]}

    def transform(self, blocks: Tensor) -> Tensor:
        """Return g (v - mean(v)) / std(v) + s."""
        filters = self.filters.to(blocks.dtype)
        mean, deviation = _moments(filters)
        ratio = self.gain.to(blocks.dtype) / deviation
        shift = self.shift.to(blocks.dtype) - mean * ratio
        return from_filters(filters * ratio[..., None] + shift[..., None], self.layout)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the filters to those of a base, and gains and shifts to their moments."""
        self.filters.copy_(to_filters(self.layout.to_blocks(base), self.layout))
        mean, deviation = _moments(self.filters)
        self.shift.copy_(mean)
        self.gain.copy_(deviation)


def _moments(filters: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every filter."""
    mean = filters.mean(-1)
    return mean, ((filters - mean[..., None]).square().mean(-1) + _EPSILON).sqrt()
