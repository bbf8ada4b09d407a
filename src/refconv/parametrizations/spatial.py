"""Transformations of the taps of slices, read as points of a grid.

Coordinates count taps from the centre of the kernel, so that weight decay on a position pulls there and not into a
corner. Dimensions of a single tap have nowhere to move to and are left out: no number is trained that could not act.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refconv.config import TransformConfig, setting
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform

_LEAST_RADIUS = 1e-3
_SWEEPS = {1: 1, 2: 2, 3: 50}  # rounds of alternating least squares by dimensions; up to two, the first one arrives


def spread(layout: Layout) -> tuple[int, ...]:
    """Return the taps of those dimensions that have more than one."""
    return tuple(taps for taps in layout.kernel_size if taps > 1)


def tap_axis(taps: int, like: Tensor) -> Tensor:
    """Return the coordinates [taps] along one dimension, from -(taps - 1) / 2 to (taps - 1) / 2."""
    return torch.arange(taps, dtype=like.dtype, device=like.device) - (taps - 1) / 2


def tap_grid(layout: Layout, like: Tensor) -> Tensor:
    """Return the coordinates [k, d] of all taps, for d dimensions of more than one tap."""
    axes = [tap_axis(taps, like) for taps in spread(layout)]
    if not axes:
        return torch.zeros(1, 0, dtype=like.dtype, device=like.device)
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


@torch.no_grad()
def _scatter(positions: Tensor, layout: Layout) -> None:
    """Fill positions [..., d] with points drawn uniformly between the corners of the grid."""
    positions.uniform_(-0.5, 0.5)
    positions.mul_(torch.tensor([taps - 1 for taps in spread(layout)], dtype=positions.dtype, device=positions.device))


class DensityConfig(TransformConfig, method="density"):
    """Density: kernel = base * d, one learned spatial density for all slices of a layer.

    Source: Optimal Density Functions for Weighted Convolution in Learning Models, arXiv 2505.24527, and Optimal
    Weighted Convolution for Classification and Denosing, arXiv 2505.24558 (Cammarasana and Patane).

    Note [Learned density]: there the density falls off with the distance from the central tap and is found by a global
    search outside of training. Here it is trained with the rest, one number a tap.
    """


class Density(KernelTransform, settings=DensityConfig):
    """A trained density d [k], ones at the start, that multiplies every slice."""

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        return {"density": (layout.taps,)}

    def transform(self, blocks: Tensor) -> Tensor:
        return blocks * self.density.to(blocks.dtype)

    def reset(self, base: Tensor) -> None:
        self.density.fill_(1)


@dataclass(frozen=True, kw_only=True)
class SpacingsConfig(TransformConfig, method="spacings"):
    """Spacings: kernel = base + ``taps`` extra taps of each slice at learned real positions.

    An extra tap of value v at position p adds v * prod_d max(0, 1 - |y_d - p_d|) to the tap y of its slice: it is
    shared among the 2 (1-D), 4 (2-D) or 8 (3-D) nearest taps, bilinearly. So the position has a gradient.

    Source: Dilated Convolution with Learnable Spacings, arXiv 2112.03740.

    Note [Grid]: there the grid is a larger, dilated kernel that holds few taps. Here structure and cost of the network
    must not change, so the grid is the kernel's own, and the taps are added to a full kernel.
    """

    taps: int = setting("extra taps of each slice", 1, least=1)


class Spacings(KernelTransform, settings=SpacingsConfig):
    """Trained extra taps of every slice: their values [b, m, taps], zero at the start, and positions [b, m, taps, d].

    Positions count taps from the centre, start uniform over the grid, and are clamped to it.
    """

    config: SpacingsConfig
    size = "taps"

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        b, m, _ = layout.block_shape
        return {"tap_values": (b, m, config.taps), "tap_positions": (b, m, config.taps, len(spread(layout)))}

    def transform(self, blocks: Tensor) -> Tensor:
        change = self.tap_values.to(blocks.dtype).unsqueeze(-1)
        positions = self.tap_positions.to(blocks.dtype)
        for axis, size in enumerate(spread(self.layout)):
            position = positions[..., axis, None].clamp(-(size - 1) / 2, (size - 1) / 2)
            near = (1 - (tap_axis(size, blocks) - position).abs()).relu()
            change = (change.unsqueeze(-1) * near.unsqueeze(-2)).flatten(-2)  # [b, m, taps, k so far]
        return blocks + change.sum(2)

    def reset(self, base: Tensor) -> None:
        self.tap_values.zero_()
        _scatter(self.tap_positions, self.layout)


@dataclass(frozen=True, kw_only=True)
class PointsConfig(TransformConfig, method="points"):
    """Points: kernel = base + ``points`` self-moving points with a position, a radius and a value.

    A point at p with radius r, ``radius`` at the start, reaches a tap y with strength g = max(0, 1 - |y - p|_1 / r). A
    tap gets the mean, over the points that reach it, of strength times value. Positions and radii are shared by all
    slices of the layer, values are each slice's own.

    Source: SMPConv: Self-moving Point Representations for Continuous Convolution, arXiv 2304.02330.

    Note [Base]: there the points are the whole kernel; here they are added to the pretrained one.
    """

    points: int = setting("number of points", 4, least=1)
    radius: float = setting("radius at the start, in taps", 2.0, above=0)


class Points(KernelTransform, settings=PointsConfig):
    """Trained points of a layer: positions [points, d], radii [points], and values [b, m, points], zero at the start.

    Positions, from the centre, and radii count taps; positions start uniform over the grid of taps. A radius of 2 at
    the start lets every point reach a tap, which is at most 1.5 away from it; radii below a thousandth count as that.
    """

    config: PointsConfig
    size = "points"

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        (b, m, _), points = layout.block_shape, config.points
        positions = points, len(spread(layout))
        return {"point_values": (b, m, points), "point_positions": positions, "point_radii": (points,)}

    def transform(self, blocks: Tensor) -> Tensor:
        distance = (tap_grid(self.layout, blocks) - self.point_positions.to(blocks.dtype)[:, None]).abs().sum(-1)
        radii = self.point_radii.to(blocks.dtype).clamp(min=_LEAST_RADIUS)
        strength = (1 - distance / radii[:, None]).relu()  # [points, k]
        reached_by = (strength > 0).sum(0).clamp(min=1)
        return blocks + self.point_values.to(blocks.dtype) @ (strength / reached_by)

    def reset(self, base: Tensor) -> None:
        self.point_values.zero_()
        self.point_radii.fill_(self.config.radius)
        _scatter(self.point_positions, self.layout)


@dataclass(frozen=True, kw_only=True)
class ContinuousConfig(TransformConfig, method="continuous"):
    """Continuous: kernel = base + f(coordinates of the tap), where f is a small network with sines.

        f(x) = W3 sin(w (W2 sin(w (W1 x + b1)) + b2)) + b3

    It gets the coordinates of a tap, each from -1 to 1, and gives one number for every slice. ``hidden`` is the width
    of both hidden layers, ``frequency`` w.

    Source: CKConv: Continuous Kernel Convolution For Sequential Data, arXiv 2102.02611, and Towards a General Purpose
    CNN for Long Range Dependencies in ND (CCNN), arXiv 2206.03398; the start of W1 and W2 is that of Implicit Neural
    Representations with Periodic Activation Functions, arXiv 2006.09661.

    Note [Base]: there f is the whole kernel; here it is added to the pretrained one, and its last layer starts at zero.
    """

    hidden: int = setting("width of both hidden layers", 8, least=1)
    frequency: float = setting("w; how fast f can vary from tap to tap", 10.0, above=0)


class Continuous(KernelTransform, settings=ContinuousConfig):
    """A trained coordinate network of a layer, two hidden layers and as many outputs as there are slices."""

    config: ContinuousConfig
    size = "hidden"

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        (b, m, _), hidden = layout.block_shape, config.hidden
        sizes = {"first": (hidden, len(spread(layout))), "second": (hidden, hidden), "last": (b * m, hidden)}
        return {
            f"{layer}_{kind}": shape
            for layer, size in sizes.items()
            for kind, shape in (("weight", size), ("bias", size[:1]))
        }

    def transform(self, blocks: Tensor) -> Tensor:
        sizes = torch.tensor(spread(self.layout), dtype=blocks.dtype, device=blocks.device)
        signal = 2 * tap_grid(self.layout, blocks) / (sizes - 1)
        for layer in ("first", "second", "last"):
            weight, bias = (getattr(self, f"{layer}_{kind}").to(blocks.dtype) for kind in ("weight", "bias"))
            signal = F.linear(signal, weight, bias)
            if layer != "last":
                signal = torch.sin(self.config.frequency * signal)
        return blocks + signal.T.reshape(blocks.shape)

    def reset(self, base: Tensor) -> None:
        hidden, dimensions = self.first_weight.shape
        self.first_weight.uniform_(-1, 1).div_(max(dimensions, 1))
        self.first_bias.uniform_(-1, 1).div_(sqrt(max(dimensions, 1)))
        self.second_weight.uniform_(-1, 1).mul_(sqrt(6 / hidden) / self.config.frequency)
        self.second_bias.uniform_(-1, 1).div_(sqrt(hidden))
        self.last_weight.zero_()
        self.last_bias.zero_()


class SeparableConfig(TransformConfig, method="separable"):
    """Separable: kernel = outer product of one trained factor for each spatial dimension.

        kernel[y1, ..., yd] = f1[y1] * ... * fd[yd]     for every slice

    Every slice has rank one: K1 + ... + Kd numbers in place of K1 * ... * Kd.

    Source: A priori compression of convolutional neural networks for wave simulators, arXiv 2304.04964; before it
    Speeding up Convolutional Neural Networks with Low Rank Expansions, arXiv 1405.3866.

    Note [Start]: the start is the closest product to each pretrained slice, which is *not* the pretrained function
    unless the slice is such a product (one-dimensional kernels always are, up to rounding). The base serves for that
    alone. What is merged is the product, so the merge is exact. A slice that is all zero stays zero, as its factors do.
    """


class Separable(KernelTransform, settings=SeparableConfig):
    """Trained factors [b, m, K_d], one for each dimension d, ``factor_0`` and so on."""

    exact_start = False

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        b, m, _ = layout.block_shape
        return {f"factor_{axis}": (b, m, taps) for axis, taps in enumerate(layout.kernel_size)}

    @property
    def factors(self) -> list[nn.Parameter]:
        return [getattr(self, f"factor_{axis}") for axis in range(len(self.layout.kernel_size))]

    def transform(self, blocks: Tensor) -> Tensor:
        first, *rest = (factor.to(blocks.dtype) for factor in self.factors)
        for factor in rest:
            first = (first.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(-2)
        return first

    def reset(self, base: Tensor) -> None:
        blocks = self.layout.to_blocks(base.detach()).double()
        for factor, best in zip(self.factors, closest_factors(blocks, self.layout.kernel_size), strict=True):
            factor.copy_(best)


def closest_factors(blocks: Tensor, kernel_size: tuple[int, ...]) -> list[Tensor]:
    """Return factors [b, m, K_d] whose outer product is as close to each slice [b, m, k] as this can be found.

    In two dimensions that is the leading pair of singular vectors, which is the best there is. In three it is a local
    optimum, by alternating least squares from the leading vectors of the three unfoldings (the higher-order power
    method, De Lathauwer et al. 2000). The norm of the product is shared equally among the factors.
    """
    slices = blocks.reshape(-1, *kernel_size)
    axes = range(len(kernel_size))
    unfolded = [slices.movedim(1 + axis, 1).reshape(len(slices), kernel_size[axis], -1) for axis in axes]
    vectors = [torch.linalg.eigh(side @ side.mT).eigenvectors[..., -1] for side in unfolded]
    norm = torch.ones_like(vectors[0][:, :1])
    for _ in range(_SWEEPS[len(kernel_size)]):
        for axis in axes:
            projected = unfolded[axis]
            for other in reversed([other for other in axes if other != axis]):
                taps = kernel_size[other]
                projected = (projected.unflatten(2, (-1, taps)) * vectors[other][:, None, None]).sum(-1)
            projected = projected.flatten(1)
            norm = projected.norm(dim=1, keepdim=True)
            vectors[axis] = torch.where(norm > 0, projected / norm.where(norm > 0, 1), vectors[axis])
    share = norm ** (1 / len(kernel_size))
    return [(share * vector).reshape(*blocks.shape[:2], -1) for vector in vectors]
