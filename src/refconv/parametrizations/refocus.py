"""Refocus: kernel = base + R P / c, the re-parameterized refocusing convolution; and its controls.

Source: RefConv: Re-parameterized Refocusing Convolution for Powerful ConvNets, arXiv 2310.10563, section 3; IEEE
TNNLS 36(6), 2025.

The controls do not work through directions that are inherited from the kernels. ``free`` trains every entry of the
kernel; ``lr_scaled`` does so at the mean speed of refocusing, of a block, a layer or the network; ``shuffled`` and
``random`` refocus on a base that is not the pretrained one, while the kernel that R P' is added to stays that.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod, sqrt
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from refconv import ops
from refconv.config import GramConfig, RefocusConfig, Start, TransformConfig, setting
from refconv.errors import LayerError
from refconv.ops import Layout
from refconv.parametrizations.base import ForwardScope, KernelTransform

_MOST = 2**27  #: Numbers of a refocus weight, or of patches beside it, that relate a whole layer


class Refocus(KernelTransform, settings=RefocusConfig):
    """The refocusing transformation of one layer.

    Its one parameter is the refocus weight R [blocks, m, m * t], for blocks of m slices and a map of t taps. The
    paper's weights, [slices, m, *map], are the same numbers in the same order. With damping, k more columns follow,
    for every slice a trained difference of its own.

    Note [Zero start]: the paper's release starts R like any convolution, which changes the pretrained function at
    once; here the default is zeros, so training starts from exactly the pretrained network.

    Note [Scale]: the release has no scale, and its refocus weights move the kernels of depthwise layers hundreds of
    times as fast as plain training does. Here the default caps the speed at that of plain training.
    """

    config: RefocusConfig
    size = "map_size"
    computed: ClassVar[tuple[str, ...]] = ("patches", "divisor", "gain", "diagonal")
    patches: Tensor | None
    divisor: Tensor | None
    gain: Tensor | None
    diagonal: Tensor | None

    def __init__(self, layer: str, base: Tensor, layout: Layout, scope: ForwardScope, config: RefocusConfig) -> None:
        _check_room(layer, layout, config)
        super().__init__(layer, base, layout, scope, config)
        weight = self.refocus_weight
        weight.data = first_weight(tuple(weight.shape), config.start, dtype=weight.dtype, device=weight.device)

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Name and shape of the refocus weight, after a check that the map fits the kernel's dimensions."""
        return {"refocus_weight": weight_shape(layout, layout.map_size(config.map_size), config.damping)}

    @classmethod
    def sized(cls, step: int) -> int:
        """Return the map sizes 1, 3, 5, ..."""
        return 2 * step - 1

    @property
    def by_slices(self) -> bool:
        """Whether R P is computed slice by slice, quicker for single ones (docs/math.md), not from stored patches."""
        return self.layout.slices == 1 and self.config.power == 1

    def prepare(self, base: Tensor) -> None:
        """Compute and store the scale and, but for blocks of one slice, the patches of a base (in float64).

        At power 1 the rows that damping adds are a number times the identity. Where they are more than the others,
        the number is all that is stored of them.
        """
        damping, power = self.config.damping, self.config.power
        if self.by_slices and self.config.scale == "paper" and damping == 0:
            return
        dtype, sizes = self.refocus_weight.dtype, (self.layout.slice_size, self.map_size)
        blocks = self.source(self.layout.to_blocks(base.detach()).double())
        scales = None
        if self.config.scale != "paper":
            scales = ops.scaling(blocks, *sizes, scale=self.config.scale, power=power, damping=damping)
            self.gain = _unless_one(scales.gain.to(dtype))
        few = self.layout.slices * prod(self.map_size) < self.layout.taps
        if damping != 0 and power == 1 and (self.by_slices or few):
            root = ops.added(blocks, *sizes, damping).sqrt()
            self.diagonal = (root if scales is None else root / scales.sign).to(dtype)
            damping = 0.0
        if self.by_slices:
            self.divisor = None if scales is None else _unless_one(scales.sign.to(dtype))
            return
        unfolded = ops.shaped_patches(ops.patches(blocks, *sizes), power, damping)
        self.patches = (unfolded if scales is None else unfolded / scales.sign).to(dtype)

    def transform(self, blocks: Tensor) -> Tensor:
        """Return base + R P / c_A for the blocks [b, m, k] of the base."""
        weight, direct = self.refocus_weight.to(blocks.dtype), None
        if self.diagonal is not None:
            weight, direct = weight.split([weight.shape[-1] - blocks.shape[-1], blocks.shape[-1]], dim=-1)
            direct = direct * self.diagonal.to(blocks.dtype)
        if self.patches is not None:
            moved = ops.refocus_by_patches(weight, self.patches.to(blocks.dtype))
        else:
            source, sizes = self.source(blocks), (self.layout.slice_size, self.map_size)
            if source is blocks and self.divisor is None and self.gain is None and direct is None:
                return ops.refocus_slices(weight, blocks, *sizes, add=True)
            if self.divisor is not None:
                source = source / self.divisor.to(blocks.dtype)
            moved = ops.refocus_slices(weight.contiguous(), source, *sizes)
        moved = moved if direct is None else moved + direct
        return blocks + (moved if self.gain is None else ops.amplified(moved, self.gain.to(blocks.dtype)))

    def source(self, blocks: Tensor) -> Tensor:
        """Return what P is made of, [b, m, k]: the base itself."""
        return blocks


def _check_room(layer: str, layout: Layout, config: RefocusConfig) -> None:
    """Refuse to relate all slices or filters of a layer to one another where that takes too many numbers."""
    if config.order not in {"layer", "filters"}:
        return
    b, m, columns = weight_shape(layout, layout.map_size(config.map_size), config.damping)
    numbers = b * columns * max(m, layout.taps if config.power != 1 else 1)
    if numbers > _MOST:
        what = f"refocusing with order={config.order!r} takes {numbers:,} numbers in kernel space"
        remedy = f"gradient space: refconv.RefocusSGD(refconv.param_groups(model, order={config.order!r}))"
        raise LayerError(what, where=layer, expected=f"at most {_MOST:,}", remedy=remedy)


def _unless_one(factors: Tensor) -> Tensor | None:
    """Return factors, or None where all of them are one, as those of most dense layers are under ``capped``."""
    return factors if bool((factors != 1).any()) else None


def weight_shape(layout: Layout, map_size: Sequence[int], damping: float) -> tuple[int, int, int]:
    """Return the shape of the refocus weight, [b, m, m * t], or with damping [b, m, m * t + k]."""
    b, m, k = layout.block_shape
    return b, m, m * prod(map_size) + (k if damping != 0 else 0)


def first_weight(shape: tuple[int, ...], start: Start, *, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Return the first refocus weight: zeros, or ``kaiming``, uniform within 1 over the root of its columns."""
    weight = torch.zeros(shape, dtype=dtype, device=device)
    if start == "kaiming":
        bound = 1 / sqrt(shape[-1])
        weight.uniform_(-bound, bound)
    return weight


class FreeConfig(TransformConfig, method="free"):
    """Free: kernel = base + D, the control that trains every entry of the kernel.

    Under SGD without weight decay a step on D is the same step on the kernel, so this is plain continued training;
    weight decay on D pulls towards the pretrained kernel, where plain training pulls towards zero.
    """


class Free(KernelTransform, settings=FreeConfig):
    """A trained difference D [blocks, m, k], zero at the start."""

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        return {"difference": layout.block_shape}

    def transform(self, blocks: Tensor) -> Tensor:
        return blocks + self.difference.to(blocks.dtype)


@dataclass(frozen=True, kw_only=True)
class LrScaledConfig(GramConfig, method="lr_scaled"):
    """Learning rate scaled: kernel = base + sqrt(c) D, plain training at the mean speed of refocusing.

    Refocusing multiplies the gradient of the kernel by M = G~^power / c_S^2 (docs/math.md, equation 2). Here M is
    replaced by c times the identity, where c is the mean eigenvalue of M under the settings of refocusing, over all
    entries of the kernels of a ``level``: a ``block``, the ``layer``, or the ``network``, all kernels that are
    transformed. A step of SGD on D moves the kernel by c times the step of plain training. If the gain of refocusing is
    a matter of learning rates, of each block, of each layer or of the network, this control shows the same gain; if it
    is a matter of directions, it does not. As in refocusing, weight decay acts on the difference from the base and is
    not multiplied.
    """

    level: Literal["layer", "block", "network"] = setting(
        "what shares one learning rate; a block, the layer or the network", "layer"
    )

    unsaid: ClassVar[dict[str, Any]] = {**GramConfig.unsaid, "power": 1.0, "level": "layer"}


class LrScaled(Free, settings=LrScaledConfig):
    """A trained difference D [blocks, m, k], zero at the start, times fixed factors sqrt(c).

    Under SGD, with momentum, dampening or Nesterov, this equals training the kernel itself with its learning rate
    multiplied by c, apart from weight decay. Optimizers that rescale gradients, such as Adam, multiply by sqrt(c).

    Note [Network]: each layer tells the others of the model the sum of its eigenvalues, for whatever base it is
    prepared, and every kernel is computed with the mean of what was told last.
    """

    config: LrScaledConfig
    computed = ("factor",)
    factor: Tensor | None

    def prepare(self, base: Tensor) -> None:
        """Compute the factors sqrt(c) of a base, in float64."""
        blocks, about = self.layout.to_blocks(base.detach()).double(), self.config
        shape: dict[str, Any] = {"scale": about.scale, "power": about.power, "damping": about.damping}
        means = ops.mean_of_metric(blocks, self.layout.slice_size, self.map_size, **shape)
        if about.level == "network":
            self.scope.told[self.layer] = float(means.mean()) * blocks.numel(), blocks.numel()
            return
        means = means[:, None, None] if about.level == "block" else means.mean()
        self.factor = means.sqrt().to(self.difference.dtype)

    def transform(self, blocks: Tensor) -> Tensor:
        difference = self.difference.to(blocks.dtype)
        if self.factor is not None:
            return blocks + self.factor.to(blocks.dtype) * difference
        sums, entries = zip(*self.scope.told.values(), strict=True)
        return blocks + sqrt(sum(sums) / sum(entries)) * difference


@dataclass(frozen=True, kw_only=True)
class OtherBaseConfig(RefocusConfig):
    """The settings of refocusing, and the seed of the random numbers."""

    seed: int = setting("seed of the random numbers", 0, least=0)


class OtherBase(Refocus):
    """Refocusing, with P from other slices, which follow from the base, the seed and the layer's name."""

    config: OtherBaseConfig
    computed = (*Refocus.computed, "other")
    other: Tensor | None

    @abstractmethod
    def drawn(self, blocks: Tensor, generator: torch.Generator) -> Tensor:
        """Return the slices [b, m, k] that P is made of, for those of the base in float64; the generator is a CPU's."""

    def prepare(self, base: Tensor) -> None:
        """Draw the other slices for a base, by a seed for each layer, and compute what refocusing needs of them."""
        digest = hashlib.sha256(f"{self.config.seed} {self.layer}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") % 2**63)
        self.other = self.drawn(self.layout.to_blocks(base.detach()).double(), generator)
        super().prepare(base)
        self.other = self.other.to(self.refocus_weight.dtype) if self.by_slices else None

    def source(self, blocks: Tensor) -> Tensor:
        assert self.other is not None
        return self.other.to(blocks.dtype)


class ShuffledConfig(OtherBaseConfig, method="shuffled"):
    """Shuffled: refocusing on the base with its entries shuffled; the settings are those of refocusing, and ``seed``.

    The entries of a layer stay, and so do all their moments; which tap of which slice holds them is lost. If
    refocusing works because of the spatial patterns of the pretrained kernels, it does not work with this.

    Shuffling whole slices would be no control: the Gram of a depthwise layer is a sum over slices, in whatever order.
    """


class Shuffled(OtherBase, settings=ShuffledConfig):
    """kernel = base + R P', P' from the shuffled base."""

    def drawn(self, blocks: Tensor, generator: torch.Generator) -> Tensor:
        order = torch.randperm(blocks.numel(), generator=generator).to(blocks.device)
        return blocks.flatten()[order].reshape(blocks.shape)


class RandomBaseConfig(OtherBaseConfig, method="random"):
    """Random: refocusing on a random base; the settings are those of refocusing, and ``seed``.

    The entries are normal and have exactly the mean and the variance of the layer's own. If refocusing works because
    of the pretrained kernels, it does not work with this.
    """


class RandomBase(OtherBase, settings=RandomBaseConfig):
    """kernel = base + R P', P' from random slices."""

    def drawn(self, blocks: Tensor, generator: torch.Generator) -> Tensor:
        noise = torch.randn(blocks.shape, generator=generator, dtype=blocks.dtype).to(blocks.device)
        noise = noise - noise.mean()
        spread = noise.square().mean().sqrt().clamp(min=torch.finfo(noise.dtype).tiny)  # a single entry has none
        return noise / spread * blocks.std(correction=0) + blocks.mean()
