"""Continuous: kernel = base + f(coordinates of the tap), where f is a small network with sines.

    f(x) = W3 sin(w (W2 sin(w (W1 x + b1)) + b2)) + b3

It gets the coordinates of a tap, each from -1 to 1, and gives one number for every slice.

Source: CKConv: Continuous Kernel Convolution For Sequential Data, arXiv 2102.02611, and Towards a General Purpose CNN
for Long Range Dependencies in ND (CCNN), arXiv 2206.03398; the start of W1 and W2 is that of Implicit Neural
Representations with Periodic Activation Functions, arXiv 2006.09661.

Note [Base]: there f is the whole kernel; here it is added to the pretrained one, and its last layer starts at zero.
"""

from __future__ import annotations

from math import sqrt
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refconv.ops import Layout
from refconv.parametrizations.base import ForwardScope, KernelTransform
from refconv.parametrizations.checks import check_positive, check_whole
from refconv.parametrizations.grid import spread, tap_grid


class Continuous(KernelTransform):
    """A trained coordinate network of a layer, two hidden layers and as many outputs as there are slices.

    Args:
        site: the site's name, for messages.
        base: the pretrained kernel.
        layout: how its slices form blocks.
        scope: the forward scope of the model.
        hidden: width of both hidden layers.
        frequency: w; how fast f can vary from tap to tap.

    Raises:
        SettingError: if a setting is out of its range.
    """

    size = "hidden"
    first_weight: nn.Parameter
    first_bias: nn.Parameter
    second_weight: nn.Parameter
    second_bias: nn.Parameter
    last_weight: nn.Parameter
    last_bias: nn.Parameter

    def __init__(
        self, site: str, base: Tensor, layout: Layout, scope: ForwardScope, *, hidden: int = 8, frequency: float = 10.0
    ) -> None:
        super().__init__(site, base, layout, scope, hidden=hidden, frequency=frequency)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Check width and frequency.

        Raises:
            SettingError: if the width is no whole number of at least 1, or the frequency not above zero.
        """
        check_whole("hidden", settings["hidden"])
        check_positive("frequency", settings["frequency"])

    @classmethod
    def shapes(cls, layout: Layout, **settings: Any) -> dict[str, tuple[int, ...]]:
        """Names and shapes of the weights and biases of three layers."""
        b, m, _ = layout.block_shape
        hidden = settings["hidden"]
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
                signal = torch.sin(self.chosen["frequency"] * signal)
        return blocks + signal.T.reshape(blocks.shape)

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Draw the hidden layers anew and set the last one to zero."""
        hidden, dimensions = self.first_weight.shape
        self.first_weight.uniform_(-1, 1).div_(max(dimensions, 1))
        self.first_bias.uniform_(-1, 1).div_(sqrt(max(dimensions, 1)))
        self.second_weight.uniform_(-1, 1).mul_(sqrt(6 / hidden) / self.chosen["frequency"])
        self.second_bias.uniform_(-1, 1).div_(sqrt(hidden))
        self.last_weight.zero_()
        self.last_bias.zero_()
