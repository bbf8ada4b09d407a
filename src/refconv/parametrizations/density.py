"""Density: kernel = base * d, one learned spatial density for all slices of a layer.

Source: Optimal Density Functions for Weighted Convolution in Learning Models, arXiv 2505.24527, and Optimal
Weighted Convolution for Classification and Denosing, arXiv 2505.24558 (Cammarasana and Patane).

Note [Learned density]: there the density falls off with the distance from the central tap and is found by a global
search outside of training. Here it is trained with the rest, one number a tap.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refconv.config import TransformConfig
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform


@dataclass(frozen=True, kw_only=True)
class DensityConfig(TransformConfig):
    """The selection of layers is all there is to set; see :class:`Density`."""

    method = "density"


class Density(KernelTransform):
    """A trained density d [k], ones at the start, that multiplies every slice."""

    config_class = DensityConfig
    density: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of the density."""
        return {"density": (layout.taps,)}

    def transform(self, blocks: Tensor) -> Tensor:
        """Return base * d."""
        return blocks * self.density.to(blocks.dtype)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the density to one everywhere."""
        self.density.fill_(1)
