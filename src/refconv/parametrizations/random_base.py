"""Random: refocusing on a random base of the same mean and variance, a control.

The entries are normal and have exactly the mean and the variance of the layer's own. If refocusing works because of the
pretrained kernels, it does not work with this.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from refconv.parametrizations.other_base import OtherBase, OtherBaseConfig


@dataclass(frozen=True, kw_only=True)
class RandomBaseConfig(OtherBaseConfig):
    """The settings of refocusing, and the seed; see :class:`RandomBase`."""

    method = "random"


class RandomBase(OtherBase):
    """kernel = base + R P', P' from random slices."""

    config_class = RandomBaseConfig

    def drawn(self, blocks: Tensor, generator: torch.Generator) -> Tensor:
        """Return normal entries with the mean and the variance of all entries of the blocks."""
        noise = torch.randn(blocks.shape, generator=generator, dtype=blocks.dtype).to(blocks.device)
        noise = noise - noise.mean()
        spread = noise.square().mean().sqrt().clamp(min=torch.finfo(noise.dtype).tiny)  # a single entry has none
        return noise / spread * blocks.std(correction=0) + blocks.mean()
