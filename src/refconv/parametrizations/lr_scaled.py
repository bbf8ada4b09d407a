"""Learning rate scaled: kernel = base + sqrt(c) D, plain training at the mean speed of refocusing.

Refocusing multiplies the gradient of the kernel by the Gram G (docs/math.md, equation 2). Here G is replaced by c
times the identity, where c is the mean eigenvalue of the Grams of the layer, scaled as refocusing scales them: a step
of SGD on D moves the kernel by c times the step of plain training. If the gain of refocusing is a matter of effective
learning rates per layer, this control shows the same gain; if it is a matter of directions, it does not. As in
refocusing, weight decay acts on the difference from the base and is not multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from refconv.config import GramConfig
from refconv.ops import Layout, effective_map_size, mean_eigenvalue, scaling
from refconv.parametrizations.base import ForwardScope, KernelTransform


@dataclass(frozen=True, kw_only=True)
class LrScaledConfig(GramConfig):
    """Map size, order and scale of the refocusing whose speed is matched; see :class:`LrScaled`."""

    method = "lr_scaled"


class LrScaled(KernelTransform):
    """A trained difference D [blocks, m, k], zero at the start, times one fixed factor for the layer.

    Under SGD, with momentum, dampening or Nesterov, this equals training the kernel itself with its learning rate
    multiplied by c, apart from weight decay. Optimizers that rescale gradients, such as Adam, multiply by sqrt(c).
    """

    config_class = LrScaledConfig
    config: LrScaledConfig
    difference: nn.Parameter
    factor: Tensor

    def __init__(self, layer: str, base: Tensor, layout: Layout, scope: ForwardScope, config: LrScaledConfig) -> None:
        super().__init__(layer, base, layout, scope, config)
        self.map_size = effective_map_size(layout.kernel_size, config.map_size)
        self.register_buffer("factor", torch.ones((), device=base.device), persistent=False)
        self.prepare(base)

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of the difference.

        Raises:
            SettingError: if the map does not fit the kernel's dimensions.
        """
        effective_map_size(layout.kernel_size, config.map_size)
        return {"difference": layout.block_shape}

    @torch.no_grad()
    def prepare(self, base: Tensor) -> None:
        """Compute the factor sqrt(c) of a base, in float64."""
        blocks = self.layout.to_blocks(base.detach().double())
        sizes = self.layout.kernel_size, self.map_size
        mean = mean_eigenvalue(blocks, *sizes)
        if self.config.scale != "paper":
            mean = mean / scaling(blocks, *sizes, scale=self.config.scale).root.square()[:, 0, 0]
        self.factor = mean.mean().sqrt().to(self.difference.dtype)

    def transform(self, blocks: Tensor) -> Tensor:
        """Return base + sqrt(c) D."""
        return blocks + self.factor.to(blocks.dtype) * self.difference.to(blocks.dtype)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the difference to zero."""
        self.difference.zero_()
