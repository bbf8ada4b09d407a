"""Refocus: kernel = base + R P / c, the re-parameterized refocusing convolution.

Source: RefConv: Re-parameterized Refocusing Convolution for Powerful ConvNets, arXiv 2310.10563, section 3; IEEE
TNNLS 36(6), 2025.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod, sqrt
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from refconv.errors import SettingError
from refconv.ops import (
    Layout,
    Scale,
    amplified,
    effective_map_size,
    patches,
    refocus_by_convolution,
    refocus_by_patches,
    scaling,
    shaped_patches,
)
from refconv.parametrizations.base import ForwardScope, KernelTransform

Start = Literal["zeros", "kaiming"]


class Refocus(KernelTransform):
    """The refocusing transformation of one site.

    Its one parameter is the refocus weight R [blocks, m, m * t], for blocks of m slices and a map of t taps. The
    paper's weights, [slices, m, *map], are the same numbers in the same order.

    Note [Zero start]: the paper's release starts R like any convolution, which changes the pretrained function at
    once; here the default is zeros, so training starts from exactly the pretrained network.

    Note [Scale]: the release has no scale, and its refocus weights move the kernels of depthwise layers hundreds of
    times as fast as plain training does. Here the default caps the speed at that of plain training.

    Args:
        site: the site's name, for messages.
        base: the pretrained kernel.
        layout: how its slices form blocks.
        scope: the forward scope of the model.
        map_size: odd taps of the map, one number or one per dimension; cut to 2 K - 1 for kernels of K taps.
        start: ``zeros``, or ``kaiming`` as released (uniform within 1 / sqrt(m * t)).
        scale: ``capped``, so that kernels move no faster than in plain training at the same learning rate;
            ``normalized``, so that the mean eigenvalue of each block's Gram is one; or ``paper``, none, as released.
        power: use P G^((power - 1) / 2) in place of P; 1 is the paper's transformation.

    Raises:
        SettingError: if a setting is out of its range.
    """

    ordered = True
    size = "map_size"
    refocus_weight: nn.Parameter
    patches: Tensor | None
    divisor: Tensor | None
    gain: Tensor | None

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
    ) -> None:
        check_settings(start=start, scale=scale, power=power)
        super().__init__(site, base, layout, scope, map_size=map_size, start=start, scale=scale, power=power)
        self.map_size = effective_map_size(layout.kernel_size, map_size)
        self.start = start
        self.scale = scale
        self.power = float(power)
        weight = self.refocus_weight
        weight.data = first_weight(layout, self.map_size, start, dtype=weight.dtype, device=weight.device)
        self.register_buffer("patches", None, persistent=False)
        self.register_buffer("divisor", None, persistent=False)
        self.register_buffer("gain", None, persistent=False)
        self.prepare(base)

    @classmethod
    def check(cls, **settings: Any) -> None:
        """Check the settings that do not depend on a site; see :func:`check_settings`."""
        check_settings(start=settings["start"], scale=settings["scale"], power=settings["power"])

    @classmethod
    def shapes(cls, layout: Layout, **settings: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of the refocus weight.

        Raises:
            SettingError: if the map does not fit the kernel's dimensions.
        """
        b, m, _ = layout.block_shape
        return {"refocus_weight": (b, m, m * prod(effective_map_size(layout.kernel_size, settings["map_size"])))}

    @classmethod
    def sized(cls, step: int) -> int:
        """Return the map sizes 1, 3, 5, ..."""
        return 2 * step - 1

    @property
    def by_convolution(self) -> bool:
        """Whether R P is computed by the convolution primitive instead of a GEMM over stored patches.

        For blocks of one slice the primitive is two to three times quicker on a CPU, and stores nothing. Other powers
        than one need the patches.
        """
        return self.layout.groups == 1 and self.power == 1

    @torch.no_grad()
    def prepare(self, base: Tensor) -> None:
        """Compute and store the scale and, but for blocks of one slice, the patches of a base (in float64)."""
        if self.by_convolution and self.scale == "paper":
            return
        dtype, sizes = self.refocus_weight.dtype, (self.layout.kernel_size, self.map_size)
        blocks = self.source(self.layout.to_blocks(base.detach().double()))
        scales = None
        if self.scale != "paper":
            scales = scaling(blocks, *sizes, scale=self.scale, power=self.power)
            self.gain = scales.gain.to(dtype) if self.scale == "capped" else None
        if self.by_convolution:
            self.divisor = None if scales is None else scales.sign.to(dtype)
            return
        unfolded = shaped_patches(patches(blocks, *sizes), self.power)
        self.patches = (unfolded if scales is None else unfolded / scales.sign).to(dtype)

    def transform(self, blocks: Tensor) -> Tensor:
        """Return base + R P / c_A for the blocks [b, m, k] of the base."""
        weight = self.refocus_weight.to(blocks.dtype)
        if self.patches is not None:
            moved = refocus_by_patches(weight, self.patches.to(blocks.dtype))
        else:
            source = self.source(blocks)
            if self.divisor is not None:
                source = source / self.divisor.to(blocks.dtype)
            moved = refocus_by_convolution(weight, source, self.layout.kernel_size, self.map_size)
        return blocks + (moved if self.gain is None else amplified(moved, self.gain.to(blocks.dtype)))

    def source(self, blocks: Tensor) -> Tensor:
        """Return what P is made of, [b, m, k]: the base itself."""
        return blocks

    @torch.no_grad()
    def reset(self, base: Tensor) -> None:
        """Set the refocus weight to zero, so that the kernel is the base."""
        self.refocus_weight.zero_()

    def settings(self) -> dict[str, Any]:
        """Return what, beside the base and the refocus weight, determines the kernel."""
        return {
            "map_size": list(self.map_size),
            "order": self.layout.order,
            "scale": self.scale,
            "power": self.power,
        }


def first_weight(
    layout: Layout, map_size: Sequence[int], start: Start, *, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """Return the refocus weight [b, m, m * t] that training starts from.

    Args:
        layout: how the slices form blocks.
        map_size: taps of the map per dimension.
        start: ``zeros``, or ``kaiming`` as released: uniform within 1 / sqrt(m * t), from torch's global generator.
        dtype: of the weight.
        device: of the weight.
    """
    b, m, _ = layout.block_shape
    weight = torch.zeros(b, m, m * prod(map_size), dtype=dtype, device=device)
    if start == "kaiming":
        bound = 1 / sqrt(weight.shape[-1])
        weight.uniform_(-bound, bound)
    return weight


def check_settings(*, start: str = "zeros", scale: str = "capped", power: float = 1.0) -> None:
    """Check the settings that do not depend on a site.

    Raises:
        SettingError: if the start or the scale is unknown, or the power is not a finite number of at least zero.
    """
    for where, value, known in (("start", start, get_args(Start)), ("scale", scale, get_args(Scale))):
        if value not in known:
            raise SettingError(f"unknown {where}", where=where, expected=" or ".join(known), found=repr(value))
    if not (isinstance(power, (int, float)) and 0 <= power < float("inf")):
        raise SettingError("not a power of the Gram", where="power", expected="a number >= 0", found=repr(power))
