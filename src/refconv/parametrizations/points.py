"""Points: kernel = base + self-moving points with a position, a radius and a value.

A point at p with radius r reaches a tap y with strength g = max(0, 1 - |y - p|_1 / r). A tap gets the mean, over the
points that reach it, of strength times value. Positions and radii are shared by all slices of the layer, values are
each slice's own.

Source: SMPConv: Self-moving Point Representations for Continuous Convolution, arXiv 2304.02330.

Note [Base]: there the points are the whole kernel; here they are added to the pretrained one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refconv.config import TransformConfig, setting
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform
from refconv.parametrizations.grid import scatter, spread, tap_grid

_LEAST_RADIUS = 1e-3


@dataclass(frozen=True, kw_only=True)
class PointsConfig(TransformConfig):
    """Number and first radius of the points; see :class:`Points`."""

    method = "points"

    points: int = setting("number of points", 4, least=1)
    radius: float = setting("radius at the start, in taps", 2.0, above=0)


class Points(KernelTransform):
    """Trained points of a layer: positions [points, d], radii [points], and values [b, m, points], zero at the start.

    Positions, from the centre, and radii count taps; positions start uniform over the grid of taps. A radius of 2 at
    the start lets every point reach a tap, which is at most 1.5 away from it; radii below a thousandth count as that.
    """

    config_class = PointsConfig
    config: PointsConfig
    size = "points"
    point_values: nn.Parameter
    point_positions: nn.Parameter
    point_radii: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of values, positions and radii."""
        b, m, _ = layout.block_shape
        points = config.points
        return {
            "point_values": (b, m, points),
            "point_positions": (points, len(spread(layout))),
            "point_radii": (points,),
        }

    def transform(self, blocks: Tensor) -> Tensor:
        """Return the base and the points."""
        distance = (tap_grid(self.layout, blocks) - self.point_positions.to(blocks.dtype)[:, None]).abs().sum(-1)
        radii = self.point_radii.to(blocks.dtype).clamp(min=_LEAST_RADIUS)
        strength = (1 - distance / radii[:, None]).relu()  # [points, k]
        reached_by = (strength > 0).sum(0).clamp(min=1)
        return blocks + self.point_values.to(blocks.dtype) @ (strength / reached_by)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the values to zero, the radii to their start, and draw the positions anew."""
        self.point_values.zero_()
        self.point_radii.fill_(self.config.radius)
        scatter(self.point_positions, self.layout)
