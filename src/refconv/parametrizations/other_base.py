"""Refocusing on another base: kernel = base + R P', where P' are patches of slices that are not the pretrained ones.

The controls for what is inherited have this in common. The kernel that R P' is added to stays the pretrained one.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from refconv.ops import Layout, Scale
from refconv.parametrizations.base import ForwardScope
from refconv.parametrizations.checks import check_whole
from refconv.parametrizations.refocus import Refocus, Start
from refconv.parametrizations.seeded import generator_for


class OtherBase(Refocus):
    """Refocusing, with P from other slices, which follow from the base, the seed and the site's name.

    Args:
        site: the site's name, for messages and for the random numbers.
        base: the pretrained kernel.
        layout: how its slices form blocks.
        scope: the forward scope of the model.
        map_size: as in refocusing.
        start: as in refocusing.
        scale: as in refocusing.
        power: as in refocusing.
        seed: of the random numbers.

    Raises:
        SettingError: if a setting is out of its range.
    """

    other: Tensor | None

    def __init__(
        self,
        site: str,
        base: Tensor,
        layout: Layout,
        scope: ForwardScope,
        *,
        map_size: int | Sequence[int] = 3,
        start: Start = "zeros",
        scale: Scale = "capped",
        power: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.seed = seed  # first, because the parent prepares for the base
        super().__init__(site, base, layout, scope, map_size=map_size, start=start, scale=scale, power=power)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Check the settings of refocusing, and the seed.

        Raises:
            SettingError: if the seed is no whole number of at least 0.
        """
        super().check(**settings)
        check_whole("seed", settings["seed"], least=0)

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
        drawn = self.drawn(self.layout.to_blocks(base.detach().double()), generator_for(self.seed, self.site))
        self.register_buffer("other", drawn, persistent=False)
        super().prepare(base)
        self.other = drawn.to(self.refocus_weight.dtype) if self.by_convolution else None

    def source(self, blocks: Tensor) -> Tensor:
        """Return the other slices, in the dtype of the base's."""
        assert self.other is not None
        return self.other.to(blocks.dtype)

    def settings(self) -> dict[str, Any]:
        """Return the settings of refocusing, and the seed."""
        return {**super().settings(), "seed": self.seed}
