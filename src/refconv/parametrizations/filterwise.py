"""Transformations of whole filters: all slices of one output channel in a row, in // groups slices of k taps.

The filters of a layer form a matrix [out, in // groups * k], one row for each output channel. The groups of a
convolution do not matter here: all its filters have the same shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from refconv.config import TransformConfig, setting
from refconv.errors import SettingError
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform

_EPSILON = 1e-10  # under the root, for filters of equal entries, which have no deviation


def filter_shape(layout: Layout) -> tuple[int, int, int]:
    """Return [experts, out, in // groups * k]; ordinary convolutions have one expert, complex ones two, their parts."""
    return layout.real.experts or 1, layout.groups * layout.out_per_group, layout.in_per_group * layout.taps


def to_filters(blocks: Tensor, layout: Layout) -> Tensor:
    """Read blocks [b, m, k] as filters [experts, out, in // groups * k].

    A transposed convolution stores [in, out // groups, ...]; its filters are those of the equivalent ordinary one.
    """
    weight = layout.real.from_blocks(blocks)
    if layout.transposed:
        weight = weight.reshape(-1, layout.groups, layout.in_per_group, layout.out_per_group, layout.taps)
        weight = weight.transpose(2, 3)
    return weight.reshape(filter_shape(layout))


def from_filters(filters: Tensor, layout: Layout) -> Tensor:
    """Return filters [experts, out, in // groups * k] as blocks [b, m, k]: the inverse of :func:`to_filters`."""
    if layout.transposed:
        filters = filters.reshape(-1, layout.groups, layout.out_per_group, layout.in_per_group, layout.taps)
        filters = filters.transpose(2, 3)
    return layout.real.to_blocks(filters.reshape(layout.real.weight_shape))


def singular_components(base: Tensor, layout: Layout) -> tuple[Tensor, Tensor, Tensor]:
    """Return u [experts, out, n], s [experts, n], descending, and v^T [experts, n, in // groups * k] of the filters.

    In float64, on the CPU, so that all devices and processes find the same.
    """
    filters = to_filters(layout.to_blocks(base.detach()), layout).to("cpu", torch.float64)
    left, values, right = torch.linalg.svd(filters, full_matrices=False)
    return left, values, right


class CombinationConfig(TransformConfig, method="combination"):
    """Combination: kernel = A base, learned linear combinations of the frozen filters; A [out, out] mixes the rows.

    Source: The Power of Linear Combinations: Learning with Random Convolutions, arXiv 2301.11360, which follows frozen
    random filters by a trained pointwise convolution.

    Note [Groups]: there the combination is a layer of its own. Written into the kernel it has to keep the groups, so
    the rows are mixed across all groups but every output channel goes on reading the inputs of its own group. For
    depthwise kernels this is refocusing with a map of one tap, apart from the start and from what weight decay pulls
    towards.
    """


class Combination(KernelTransform, settings=CombinationConfig):
    """A trained matrix A [experts, out, out], the identity at the start."""

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        experts, out, _ = filter_shape(layout)
        return {"coefficients": (experts, out, out)}

    def transform(self, blocks: Tensor) -> Tensor:
        return from_filters(self.coefficients.to(blocks.dtype) @ to_filters(blocks, self.layout), self.layout)

    def reset(self, base: Tensor) -> None:
        self.coefficients.copy_(torch.eye(self.coefficients.shape[-1]))


@dataclass(frozen=True, kw_only=True)
class LowRankConfig(TransformConfig, method="low_rank"):
    """Low rank: kernel = base + scale * U V, convolutional LoRA.

    The change of the filters is a product of U [out, r] and V [r, in // groups * k]: a convolution to r channels with
    the taps of the kernel, followed by a pointwise one. ``rank`` is r, cut to the smaller side of the matrix.

    Source: LoRA: Low-Rank Adaptation of Large Language Models, arXiv 2106.09685, for U V and its start; for
    convolutions ConvLoRA and AdaBN based Domain Adaptation via Self-Training, arXiv 2402.04964, and
    Distillation-Supervised Convolutional Low-Rank Adaptation for Efficient Image Super-Resolution (DSCLoRA), arXiv
    2504.11271.

    Note [Factors]: those papers fold the taps into both factors, [out * K, r K] times [r K, in * K], which needs square
    kernels. Here V keeps the taps and U mixes channels, which holds for kernels of any shape.

    With ``factors`` the product starts as r singular components of the filters F = sum_i s_i u_i v_i^T, which are taken
    out of the base, so that training moves these components themselves:

        kernel = F - C + scale * U V,   C = sum_i s_i u_i v_i^T,
            U_i = u_i sqrt(s_i / scale),   V_i = sqrt(s_i / scale) v_i^T

    ``principal``: those of the largest s (PiSSA, arXiv 2404.02948); ``minor``: of the smallest (MiLoRA, arXiv
    2406.09044). A component with s = 0 stays at rest, as both of its factors are zero.
    """

    rank: int = setting("rank r; cut to the smaller side of the matrix, which reaches every kernel", 4, least=1)
    scale: float = setting("factor of the product", 1.0, above=0)
    factors: Literal["zero", "principal", "minor"] = setting("start of U V, zero or singular components of F", "zero")

    unsaid: ClassVar[dict[str, Any]] = {**TransformConfig.unsaid, "factors": "zero"}


class LowRank(KernelTransform, settings=LowRankConfig):
    """A trained product of two thin matrices, added to the filters: ``up`` U, zero at the start, and ``down`` V.

    V starts uniform within 1 / sqrt(in // groups * k), as torch starts a convolution of that fan-in; or both start as
    singular components of the filters, which are ``taken`` [experts, out, in // groups * k] out of the base.
    """

    config: LowRankConfig
    size = "rank"
    computed = ("taken",)
    taken: Tensor | None

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        experts, out, inner = filter_shape(layout)
        rank = min(config.rank, out, inner)
        return {"up": (experts, out, rank), "down": (experts, rank, inner)}

    def transform(self, blocks: Tensor) -> Tensor:
        change = self._product(self.up, self.down, blocks)
        if self.taken is not None:
            change = change - self.taken.to(blocks.dtype)
        return blocks + from_filters(change, self.layout)

    def _product(self, up: Tensor, down: Tensor, like: Tensor) -> Tensor:
        product: Tensor = self.config.scale * (up.to(like.dtype) @ down.to(like.dtype))
        return product

    def prepare(self, base: Tensor) -> None:
        """Take the components out of the base that the factors start as."""
        if self.config.factors != "zero":
            self.taken = self._product(*self._components(base), self.up)

    def _components(self, base: Tensor) -> tuple[Tensor, Tensor]:
        """Return U and V whose product, times the scale, are the first or last singular components of the filters."""
        left, values, right = singular_components(base, self.layout)
        rank = self.up.shape[-1]
        part = slice(rank) if self.config.factors == "principal" else slice(values.shape[-1] - rank, None)
        root = (values[..., part] / self.config.scale).sqrt()
        up, down = left[..., part] * root[..., None, :], root[..., None] * right[..., part, :]
        # Of one layout, as products of others round otherwise: what is taken out has to come back to the bit.
        return up.to(self.up).contiguous(), down.to(self.down).contiguous()

    def reset(self, base: Tensor) -> None:
        if self.config.factors != "zero":
            for factor, start in zip((self.up, self.down), self._components(base), strict=True):
                factor.copy_(start)
            return
        self.up.zero_()
        bound = 1 / sqrt(self.down.shape[-1])
        self.down.uniform_(-bound, bound)


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        what, expected = "no share of the squared singular values", "0 to below 1, since something has to be left"
        raise SettingError(what, where=name, expected=expected, found=repr(value))
    return float(value)


@dataclass(frozen=True, kw_only=True)
class NullSpaceConfig(TransformConfig, method="null_space"):
    """Null space: kernel = base + D (I - V V^T), a change that leaves the principal directions of the filters alone.

    V [in // groups * k, n] are the fewest leading right singular vectors of the filters F whose squared singular values
    are a share ``protected`` of the sum of all. What a patch of the input has along V passes through the change unseen,
    and under SGD the gradient g of plain training becomes g (I - V V^T): a projection in place of the Gram F^T F, by
    which refocusing with ``order=filters`` prefers these very directions.

    Source: Training Networks in Null Space of Feature Covariance for Continual Learning, arXiv 2103.07113, where the
    protected directions are those of the features of earlier tasks. Here there are no earlier data, and the filters
    stand for what they respond to.
    """

    protected: float = setting("share of the squared singular values that is protected", 0.9, check=_share)


class NullSpace(KernelTransform, settings=NullSpaceConfig):
    """A trained difference D [experts, out, in // groups * k], zero at the start, beside the directions V^T."""

    config: NullSpaceConfig
    computed = ("directions",)
    directions: Tensor

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        return {"difference": filter_shape(layout)}

    def prepare(self, base: Tensor) -> None:
        """Find the directions that are protected; of experts as many as the one needs that needs most."""
        _, values, right = singular_components(base, self.layout)
        energy = values.square().cumsum(-1)
        needed = int((energy < self.config.protected * energy[..., -1:]).sum(-1).max()) + (self.config.protected > 0)
        self.directions = right[..., :needed, :].to(self.difference)

    def transform(self, blocks: Tensor) -> Tensor:
        change, directions = self.difference.to(blocks.dtype), self.directions.to(blocks.dtype)
        return blocks + from_filters(change - (change @ directions.mT) @ directions, self.layout)


@dataclass(frozen=True, kw_only=True)
class TuckerConfig(TransformConfig, method="tucker"):
    """Tucker: kernel = base + scale * C x U x V, a Tucker-2 product over the channels.

        change[o, i, y] = sum_{p, q} U[o, p] C[p, q, y] V[q, i]

    The change is a pointwise convolution to ``rank`` channels, one of the kernel's taps among them, and a pointwise
    one back. ``rank`` is cut to the number of output, and of input channels in a group.

    Source: Rank-adaptive spectral pruning of convolutional layers during training, arXiv 2305.19059, for training
    low-rank Tucker factors; before it Compression of Deep Convolutional Neural Networks for Fast and Low Power Mobile
    Applications, arXiv 1511.06530, for Tucker-2.

    Note [Base]: there the product is the whole kernel and its ranks change; here it is added to the pretrained one, as
    low rank is, with one rank.
    """

    rank: int = setting("rank; cut to the number of channels on either side", 4, least=1)
    scale: float = setting("factor of the product", 1.0, above=0)


class Tucker(KernelTransform, settings=TuckerConfig):
    """Trained factors ``up`` U [experts, out, r], zero at the start, ``core`` C [experts, r, r', k] and ``down`` V.

    V [experts, r', in // groups] and C start uniform within 1 / sqrt(fan-in), as torch starts convolutions.
    """

    config: TuckerConfig
    size = "rank"

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        experts, out, _ = filter_shape(layout)
        outer, inner = min(config.rank, out), min(config.rank, layout.in_per_group)
        core = experts, outer, inner, layout.taps
        return {"up": (experts, out, outer), "core": core, "down": (experts, inner, layout.in_per_group)}

    def transform(self, blocks: Tensor) -> Tensor:
        up, core, down = (getattr(self, name).to(blocks.dtype) for name in ("up", "core", "down"))
        inputs = core.movedim(2, 3) @ down.unsqueeze(1)  # [experts, r, k, in // groups]
        filters = up @ inputs.mT.flatten(2)
        return blocks + from_filters(self.config.scale * filters, self.layout)

    def reset(self, base: Tensor) -> None:
        self.up.zero_()
        for factor, fan_in in ((self.core, self.core.shape[2] * self.core.shape[3]), (self.down, self.down.shape[2])):
            factor.uniform_(-1 / sqrt(fan_in), 1 / sqrt(fan_in))


class WeightNormConfig(TransformConfig, method="weight_norm"):
    """Weight norm: kernel = g v / |v| for every filter, direction and length trained apart.

    Source: Weight Normalization: A Simple Reparameterization to Accelerate Training of Deep Neural Networks,
    arXiv 1602.07868. It is what ``torch.nn.utils.parametrizations.weight_norm`` computes, with one g for every output
    channel; in transposed convolutions too, where torch's default goes by input channel.
    """


class WeightNorm(KernelTransform, settings=WeightNormConfig):
    """Trained directions v [experts, out, in // groups * k], the base at the start, and gains g [experts, out].

    At the start g = |v|, and v is multiplied by g / |v| = 1, so the kernel is the base bit for bit. The base itself
    serves for the start alone.
    """

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        shape = filter_shape(layout)
        return {"direction": shape, "gain": shape[:2]}

    def transform(self, blocks: Tensor) -> Tensor:
        direction = self.direction.to(blocks.dtype)
        return from_filters(direction * (self.gain.to(blocks.dtype) / _length(direction))[..., None], self.layout)

    def reset(self, base: Tensor) -> None:
        self.direction.copy_(to_filters(self.layout.to_blocks(base), self.layout))
        self.gain.copy_(_length(self.direction))


def _length(filters: Tensor) -> Tensor:
    """Return |v|; the smallest number under the root keeps value and gradient finite for filters of zeros."""
    return (filters.square().sum(-1) + torch.finfo(filters.dtype).tiny).sqrt()


class StandardizeConfig(TransformConfig, method="standardize"):
    """Standardize: kernel = g (v - mean(v)) / std(v) + s for every filter, weight standardization.

    Source: Micro-Batch Training with Batch-Channel Normalization and Weight Standardization, arXiv 1903.10520.

    Note [Start]: there g = 1 and s = 0, which changes a pretrained function. Here both are trained, from the standard
    deviation and the mean of the pretrained filter, so that training starts from that filter.
    """


class Standardize(KernelTransform, settings=StandardizeConfig):
    """Trained filters v [experts, out, in // groups * k], the base at the start; gains g and shifts s [experts, out].

    The formula is computed as v r + (s - mean(v) r) with r = g / std(v): at the start r is one and the bracket zero,
    so the kernel is the base bit for bit. The base itself serves for the start alone.
    """

    @classmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        shape = filter_shape(layout)
        return {"filters": shape, "gain": shape[:2], "shift": shape[:2]}

    def transform(self, blocks: Tensor) -> Tensor:
        filters = self.filters.to(blocks.dtype)
        mean, deviation = _moments(filters)
        ratio = self.gain.to(blocks.dtype) / deviation
        shift = self.shift.to(blocks.dtype) - mean * ratio
        return from_filters(filters * ratio[..., None] + shift[..., None], self.layout)

    def reset(self, base: Tensor) -> None:
        self.filters.copy_(to_filters(self.layout.to_blocks(base), self.layout))
        mean, deviation = _moments(self.filters)
        self.shift.copy_(mean)
        self.gain.copy_(deviation)


def _moments(filters: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of every filter."""
    mean = filters.mean(-1)
    return mean, ((filters - mean[..., None]).square().mean(-1) + _EPSILON).sqrt()
