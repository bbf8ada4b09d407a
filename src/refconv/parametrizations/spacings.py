"""Spacings: kernel = base + extra taps at learned real positions.

An extra tap of value v at position p adds v * prod_d max(0, 1 - |y_d - p_d|) to the tap y of its slice: it is shared
among the 2 (1-D), 4 (2-D) or 8 (3-D) nearest taps, bilinearly. So the position has a gradient.

Source: Dilated Convolution with Learnable Spacings, arXiv 2112.03740.

Note [Grid]: there the grid is a larger, dilated kernel that holds few taps. Here structure and cost of the network must
not change, so the grid is the kernel's own, and the taps are added to a full kernel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refconv.config import TransformConfig, setting
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform
from refconv.parametrizations.grid import scatter, spread, tap_axis


@dataclass(frozen=True, kw_only=True)
class SpacingsConfig(TransformConfig):
    """The number of extra taps; see :class:`Spacings`."""

    method = "spacings"

    taps: int = setting("extra taps of each slice", 1, least=1)


class Spacings(KernelTransform):
    """Trained extra taps of every slice: their values [b, m, taps], zero at the start, and positions [b, m, taps, d].

    Positions count taps from the centre, start uniform over the grid, and are clamped to it.
    """

    config_class = SpacingsConfig
    config: SpacingsConfig
    size = "taps"
    tap_values: nn.Parameter
    tap_positions: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of values and positions."""
        b, m, _ = layout.block_shape
        return {"tap_values": (b, m, config.taps), "tap_positions": (b, m, config.taps, len(spread(layout)))}

    def transform(self, blocks: Tensor) -> Tensor:
        """Return the base and the interpolated taps."""
        change = self.tap_values.to(blocks.dtype).unsqueeze(-1)
        positions = self.tap_positions.to(blocks.dtype)
        for axis, size in enumerate(spread(self.layout)):
            position = positions[..., axis, None].clamp(-(size - 1) / 2, (size - 1) / 2)
            near = (1 - (tap_axis(size, blocks) - position).abs()).relu()
            change = (change.unsqueeze(-1) * near.unsqueeze(-2)).flatten(-2)  # [b, m, taps, k so far]
        return blocks + change.sum(2)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the values to zero and draw the positions anew."""
        self.tap_values.zero_()
        scatter(self.tap_positions, self.layout)
