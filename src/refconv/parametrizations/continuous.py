"""Continuous: kernel = base + f(coordinates of the tap), where f is a small network with sines.

    f(x) = W3 sin(w (W2 sin(w (W1 x + b1)) + b2)) + b3

It gets the coordinates of a tap, each from -1 to 1, and gives one number for every slice.

Source: CKConv: Continuous Kernel Convolution For Sequential Data, arXiv 2102.02611, and Towards a General Purpose CNN
for Long Range Dependencies in ND (CCNN), arXiv 2206.03398; the start of W1 and W2 is that of Implicit Neural
Representations with Periodic Activation Functions, arXiv 2006.09661.

Note [Base]: there f is the whole kernel; here it is added to the pretrained one, and its last layer starts at zero.
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
from refconv.parametrizations.grid import spread, tap_grid


@dataclass(frozen=True, kw_only=True)
class ContinuousConfig(TransformConfig):
    """Size and frequency of the coordinate network; see :class:`Continuous`."""

    method = "continuous"

    hidden: int = setting("width of both hidden layers", 8, least=1)
    frequency: float = setting("w; how fast f can vary from tap to tap", 10.0, above=0)


class Continuous(KernelTransform):
    """A trained coordinate network of a layer, two hidden layers and as many outputs as there are slices."""

    config_class = ContinuousConfig
    config: ContinuousConfig
    size = "hidden"
    first_weight: nn.Parameter
    first_bias: nn.Parameter
    second_weight: nn.Parameter
    second_bias: nn.Parameter
    last_weight: nn.Parameter
    last_bias: nn.Parameter

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights and biases of three layers."""
        b, m, _ = layout.block_shape
        hidden = config.hidden
        return {
            "first_weight": (hidden, len(spread(layout))),
            "first_bias": (hidden,),
            "second_weight": (hidden, hidden),
            "second_bias": (hidden,),
            "last_weight": (b * m, hidden),
            "last_bias": (b * m,),
        }

    def transform(self, blocks: Tensor) -> Tensor:
        """Return the base and the network's outputs at all taps."""
        sizes = torch.tensor(spread(self.layout), dtype=blocks.dtype, device=blocks.device)
        signal = 2 * tap_grid(self.layout, blocks) / (sizes - 1)
        for layer in ("first", "second", "last"):
            weight, bias = (getattr(self, f"{layer}_{kind}").to(blocks.dtype) for kind in ("weight", "bias"))
            signal = F.linear(signal, weight, bias)
            if layer != "last":
                signal = torch.sin(self.config.frequency * signal)
        return blocks + signal.T.reshape(blocks.shape)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Draw the hidden layers anew and set the last one to zero."""
        hidden, dimensions = self.first_weight.shape
        self.first_weight.uniform_(-1, 1).div_(max(dimensions, 1))
        self.first_bias.uniform_(-1, 1).div_(sqrt(max(dimensions, 1)))
        self.second_weight.uniform_(-1, 1).mul_(sqrt(6 / hidden) / self.config.frequency)
        self.second_bias.uniform_(-1, 1).div_(sqrt(hidden))
        self.last_weight.zero_()
        self.last_bias.zero_()
