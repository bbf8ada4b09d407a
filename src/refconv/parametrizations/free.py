"""Free: kernel = base + D, the control that trains every entry of the kernel.

Under SGD without weight decay a step on D is the same step on the kernel, so this is plain continued training;
weight decay on D pulls towards the pretrained kernel, where plain training pulls towards zero.
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
class FreeConfig(TransformConfig):
    """The selection of layers is all there is to set; see :class:`Free`."""

    method = "free"


class Free(KernelTransform):
    """A trained difference D [blocks, m, k], zero at the start."""

    config_class = FreeConfig
    difference: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of the difference."""
        return {"difference": layout.block_shape}

    def transform(self, blocks: Tensor) -> Tensor:
        """Return base + D."""
        return blocks + self.difference.to(blocks.dtype)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the difference to zero."""
        self.difference.zero_()
