"""Free: kernel = base + D, the control that trains every entry of the kernel.

Under SGD without weight decay a step on D is the same step on the kernel, so this is plain continued training;
weight decay on D pulls towards the pretrained kernel, where plain training pulls towards zero.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform


class Free(KernelTransform):
    """A trained difference D [blocks, m, k], zero at the start. It has no settings.

    Args:
        site: the site's name, for messages.
        base: the pretrained kernel.
        layout: how its slices form blocks.
        scope: the forward scope of the model.
    """

    difference: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, **settings: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of the difference."""
        return {"difference": layout.block_shape}

    def transform(self, blocks: Tensor) -> Tensor:
        """Return base + D."""
        return blocks + self.difference.to(blocks.dtype)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the difference to zero."""
        self.difference.zero_()
