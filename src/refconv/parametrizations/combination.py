"""Combination: kernel = A base, learned linear combinations of the frozen filters.

The filters of a layer form a matrix [out, in // groups * k], one row for each output channel; A [out, out] mixes its
rows.

Source: The Power of Linear Combinations: Learning with Random Convolutions, arXiv 2301.11360, which follows frozen
random filters by a trained pointwise convolution.

Note [Groups]: there the combination is a layer of its own. Written into the kernel it has to keep the groups, so the
rows are mixed across all groups but every output channel goes on reading the inputs of its own group. For depthwise
kernels this is refocusing with a map of one tap, apart from the start and from what weight decay pulls towards.
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
class CombinationConfig(TransformConfig):
    """The selection of layers is all there is to set; see :class:`Combination`."""

    method = "combination"


class Combination(KernelTransform):
    """A trained matrix A [experts, out, out], the identity at the start."""

    config_class = CombinationConfig
    coefficients: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of the matrix."""
        experts, out, _ = filter_shape(layout)
        return {"coefficients": (experts, out, out)}

    def transform(self, blocks: Tensor) -> Tensor:
        """Return A times the filters of the base."""
        return from_filters(self.coefficients.to(blocks.dtype) @ to_filters(blocks, self.layout), self.layout)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set A to the identity."""
        self.coefficients.copy_(torch.eye(self.coefficients.shape[-1]))
