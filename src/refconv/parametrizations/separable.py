"""Separable: kernel = outer product of one trained factor for each spatial dimension.

    kernel[y1, ..., yd] = f1[y1] * ... * fd[yd]     for every slice

Every slice has rank one: K1 + ... + Kd numbers in place of K1 * ... * Kd.

Source: A priori compression of convolutional neural networks for wave simulators, arXiv 2304.04964; before it Speeding
up Convolutional Neural Networks with Low Rank Expansions, arXiv 1405.3866.

Note [Start]: the start is the closest product to each pretrained slice, which is *not* the pretrained function unless
the slice is such a product (one-dimensional kernels always are, up to rounding). The base serves for that alone. What
is merged is the product, so the merge is exact. A slice that is all zero stays zero, as its factors do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refconv.config import TransformConfig
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform

_SWEEPS = {1: 1, 2: 2, 3: 50}
"""Rounds of alternating least squares by number of dimensions; up to two, the first one arrives."""


@dataclass(frozen=True, kw_only=True)
class SeparableConfig(TransformConfig):
    """The selection of layers is all there is to set; see :class:`Separable`."""

    method = "separable"


class Separable(KernelTransform):
    """Trained factors [b, m, K_d], one for each dimension d, ``factor_0`` and so on."""

    config_class = SeparableConfig
    exact_start = False

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the factors."""
        b, m, _ = layout.block_shape
        return {f"factor_{axis}": (b, m, taps) for axis, taps in enumerate(layout.kernel_size)}

    @property
    def factors(self) -> list[nn.Parameter]:
        """The factors in the order of the dimensions."""
        return [getattr(self, f"factor_{axis}") for axis in range(len(self.layout.kernel_size))]

    def transform(self, blocks: Tensor) -> Tensor:
        """Return the outer products, in the shape and dtype of the base's blocks."""
        first, *rest = (factor.to(blocks.dtype) for factor in self.factors)
        for factor in rest:
            first = (first.unsqueeze(-1) * factor.unsqueeze(-2)).flatten(-2)
        return first

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the factors to the closest products to the slices of a base."""
        blocks = self.layout.to_blocks(base.detach().double())
        for factor, best in zip(self.factors, closest_factors(blocks, self.layout.kernel_size), strict=True):
            factor.copy_(best)


def closest_factors(blocks: Tensor, kernel_size: tuple[int, ...]) -> list[Tensor]:
    """Return factors [b, m, K_d] whose outer product is as close to each slice as this can be found.

    In two dimensions that is the leading pair of singular vectors, which is the best there is. In three it is a local
    optimum, by alternating least squares from the leading vectors of the three unfoldings (the higher-order power
    method, De Lathauwer et al. 2000). The norm of the product is shared equally among the factors.

    Args:
        blocks: slices [b, m, k].
        kernel_size: K, whose product is k.
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
