"""Shuffled: refocusing on the base with its entries shuffled, a control.

The entries of a layer stay, and so do all their moments; which tap of which slice holds them is lost. If
refocusing works because of the spatial patterns of the pretrained kernels, it does not work with this.

Shuffling whole slices would be no control: the Gram of a depthwise layer is a sum over slices, whatever their order.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from refconv.parametrizations.other_base import OtherBase, OtherBaseConfig


@dataclass(frozen=True, kw_only=True)
class ShuffledConfig(OtherBaseConfig):
    """The settings of refocusing, and the seed; see :class:`Shuffled`."""

    method = "shuffled"


class Shuffled(OtherBase):
    """kernel = base + R P', P' from the shuffled base."""

    config_class = ShuffledConfig

    def drawn(self, blocks: Tensor, generator: torch.Generator) -> Tensor:
        """Return the entries of all blocks in another order."""
        order = torch.randperm(blocks.numel(), generator=generator).to(blocks.device)
        return blocks.flatten()[order].reshape(blocks.shape)
