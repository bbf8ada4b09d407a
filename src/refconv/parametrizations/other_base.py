"""Refocusing on another base: kernel = base + R P', where P' are patches of slices that are not the pretrained ones.

The controls for what is inherited have this in common. The kernel that R P' is added to stays the pretrained one.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from refconv.config import RefocusConfig, setting
from refconv.parametrizations.refocus import Refocus
from refconv.parametrizations.seeded import generator_for


@dataclass(frozen=True, kw_only=True)
class OtherBaseConfig(RefocusConfig):
    """The settings of refocusing, and the seed of the random numbers."""

    seed: int = setting("seed of the random numbers", 0, least=0)


class OtherBase(Refocus):
    """Refocusing, with P from other slices, which follow from the base, the seed and the layer's name."""

    config: OtherBaseConfig
    other: Tensor | None

    @abstractmethod
    def drawn(self, blocks: Tensor, generator: torch.Generator) -> Tensor:
        """Return the slices [b, m, k] that P is made of.

        Args:
            blocks: the slices of the base, in float64.
            generator: for random numbers, on the CPU.
        """

    @torch.no_grad()
    def prepare(self, base: Tensor) -> None:
        """Draw the other slices for a base, and compute what refocusing needs of them."""
        drawn = self.drawn(self.layout.to_blocks(base.detach().double()), generator_for(self.config.seed, self.layer))
        self.register_buffer("other", drawn, persistent=False)
        super().prepare(base)
        self.other = drawn.to(self.refocus_weight.dtype) if self.by_convolution else None

    def source(self, blocks: Tensor) -> Tensor:
        """Return the other slices, in the dtype of the base's."""
        assert self.other is not None
        return self.other.to(blocks.dtype)
