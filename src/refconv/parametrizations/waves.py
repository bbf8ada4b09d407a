"""Transformations by waves of few parameters, added to each slice: Gabor functions, and band-passes of sinc functions.

Frequencies count cycles a tap, positions taps from the centre of the kernel; dimensions of a single tap have no wave.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi
from typing import Any

import torch
from torch import Tensor

from refconv.config import TransformConfig, setting
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform
from refconv.parametrizations.spatial import spread, tap_axis, tap_grid

_HIGHEST = 0.5  # cycles a tap that taps can tell apart
_LEAST_WIDTH = 1e-2


@dataclass(frozen=True, kw_only=True)
class GaborConfig(TransformConfig, method="gabor"):
    """Gabor: kernel = base + ``waves`` Gabor functions for each slice.

        a exp(-|y|^2 / (2 s^2)) cos(2 pi <f, y> + p)     at the tap y

    with a trained amplitude a, width s, phase p and frequency f, a vector of one number for each dimension: in two
    dimensions of length F and direction theta.

    Source: Learning Gabor Texture Features for Fine-Grained Recognition, arXiv 2308.05396; before it GaborNet,
    arXiv 1904.13204.

    Note [Base]: there the functions are the whole kernel, computed at each forward; here they are added to the
    pretrained one and written into it by the merge.
    """

    waves: int = setting("functions for each slice", 1, least=1)


class Gabor(KernelTransform, settings=GaborConfig):
    """Trained amplitudes, widths and phases [b, m, waves] and frequencies [b, m, waves, d]; amplitudes start at zero.

    Frequencies start uniform in every dimension up to half a cycle a tap, phases uniform, and widths at a third of the
    largest side of the kernel; widths below a hundredth count as that.
    """

    config: GaborConfig
    size = "waves"

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        b, m, _ = layout.block_shape
        shape = b, m, config.waves
        return {"amplitude": shape, "width": shape, "phase": shape, "frequency": (*shape, len(spread(layout)))}

    def transform(self, blocks: Tensor) -> Tensor:
        grid = tap_grid(self.layout, blocks)  # [k, d]
        amplitude, width, phase = (
            getattr(self, name).to(blocks.dtype)[..., None] for name in ("amplitude", "width", "phase")
        )
        angle = 2 * pi * (self.frequency.to(blocks.dtype) @ grid.T) + phase  # [b, m, waves, k]
        envelope = torch.exp(-grid.square().sum(-1) / (2 * width.clamp(min=_LEAST_WIDTH).square()))
        change: Tensor = (amplitude * envelope * torch.cos(angle)).sum(2)
        return blocks + change

    def reset(self, base: Tensor) -> None:
        self.amplitude.zero_()
        self.width.fill_(max(self.layout.kernel_size) / 3)
        self.phase.uniform_(-pi, pi)
        self.frequency.uniform_(-_HIGHEST, _HIGHEST)


@dataclass(frozen=True, kw_only=True)
class SincConfig(TransformConfig, method="sinc"):
    """Sinc: kernel = base + ``bands`` band-passes for each slice, products of one for each dimension.

    A band from l to h passes 2 h sinc(2 h y) - 2 l sinc(2 l y), sinc(x) = sin(pi x) / (pi x). Divided by 2 (h - l), its
    value at the centre, that is with the width v = h - l

        sinc(v y) cos(2 pi (l + v / 2) y)     at the tap y

    and the kernel gets a times the Hamming window times the product over dimensions, with a trained amplitude a.

    Source: Speaker Recognition from Raw Waveform with SincNet, arXiv 1808.00158, and its code for the division.

    Note [Base]: there a band-pass is the whole kernel of a first layer over sound; here it is added to the pretrained
    one, in any layer and number of dimensions.
    """

    bands: int = setting("band-passes for each slice", 1, least=1)


class Sinc(KernelTransform, settings=SincConfig):
    """Trained amplitudes [b, m, bands], zero at the start, and lower edges and widths of bands [b, m, bands, d].

    The bands of a layer start beside one another, over the frequencies up to half a cycle a tap.
    """

    config: SincConfig
    size = "bands"

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        b, m, _ = layout.block_shape
        shape = b, m, config.bands
        edges = *shape, len(spread(layout))
        return {"amplitude": shape, "low": edges, "width": edges}

    def transform(self, blocks: Tensor) -> Tensor:
        change = self.amplitude.to(blocks.dtype)[..., None]
        lows, widths = self.low.to(blocks.dtype), self.width.to(blocks.dtype)
        for axis, taps in enumerate(spread(self.layout)):
            low, width, own = lows[..., axis, None], widths[..., axis, None], tap_axis(taps, blocks)
            band = torch.sinc(width * own) * torch.cos(2 * pi * (low + width / 2) * own)
            window = torch.hamming_window(taps, periodic=False, dtype=blocks.dtype, device=blocks.device)
            change = (change.unsqueeze(-1) * (band * window).unsqueeze(-2)).flatten(-2)  # [b, m, bands, k so far]
        return blocks + change.sum(2)

    def reset(self, base: Tensor) -> None:
        count = self.amplitude.numel()
        self.amplitude.zero_()
        step = _HIGHEST / count
        edges = torch.arange(count, dtype=self.low.dtype, device=self.low.device) * step
        self.low.copy_(edges.reshape(*self.amplitude.shape, 1).expand_as(self.low))
        self.width.fill_(step)
