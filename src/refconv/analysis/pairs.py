"""What measures of weights share: the kernels of one model or of two, checked, copied to the CPU in float64, in blocks.

Two models must hold the same convolutions under the same names and of the same shapes. Models are never changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from refconv.analysis.batches import ONE_ARCHITECTURE, PLAIN, check_same
from refconv.errors import ModelError
from refconv.layers import Choice, Layer, Selection, find_layers, select
from refconv.ops import Layout, Order

# The most blocks of a layer that are looked at, and what their eigenvalues and refocus weights may cost in
# multiplications. Layers of few blocks, depthwise ones above all, are always looked at whole.
_MOST_BLOCKS = 4096
_COST = 4 * 10**8
_LEAST_BLOCKS = 8
FOLD = "torch.nn.utils.parametrize.remove_parametrizations, remove_weight_norm or prune.remove folds it into the kernel"


@dataclass(frozen=True, eq=False)
class Kernel:
    """One convolution's kernel, ready to be measured."""

    layer: str  #: the module's name
    kind: str  #: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``
    layout: Layout  #: how slices are read from the weight, in the order ``contiguous``
    weight: Tensor  #: a copy in float64, on the CPU

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Taps per spatial dimension."""
        return self.layout.kernel_size

    @property
    def slices(self) -> Tensor:
        """All slices [n, k], one a connected (out, in) pair, in the order of output channels."""
        return self.layout.to_blocks(self.weight).reshape(-1, self.layout.taps)

    @property
    def filters(self) -> Tensor:
        """The kernel of each output channel as a row [out, in / groups * k]; for depthwise kernels, its slice."""
        return self.slices.reshape(-1, self.layout.in_per_group * self.layout.taps)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """The kernel size without the dimensions of one tap: a 1 x 11 kernel is one-dimensional."""
        return tuple(taps for taps in self.kernel_size if taps > 1)


@dataclass(frozen=True, eq=False)
class KernelPair:
    """The same convolution's kernel in two models, under one name and of one kind."""

    before: Kernel
    after: Kernel

    @property
    def layer(self) -> str:
        """The module's name."""
        return self.before.layer

    @property
    def kind(self) -> str:
        """``depthwise``, ``grouped``, ``dense`` or ``pointwise``."""
        return self.before.kind


def find_kernels(model: nn.Module, include: Selection = None, exclude: Selection = None) -> tuple[Kernel, ...]:
    """Return the kernels of a plain model; one that several layers share appears once, under the first name.

    Layers are chosen as in :func:`refconv.layers.select`, by default all of more than one tap.

    Raises:
        ModelError: if a kernel is parametrized, without values or not finite, or if none is left to measure.
    """
    by_tensor: dict[int, Layer] = {}
    for layer in _chosen(model, include, exclude):
        by_tensor.setdefault(id(layer.weight), layer)
    return tuple(_kernel(layer) for layer in by_tensor.values())


def pair_kernels(
    before: nn.Module, after: nn.Module, include: Selection = None, exclude: Selection = None
) -> tuple[KernelPair, ...]:
    """Return the kernels of two plain models side by side, as :func:`find_kernels` those of one.

    Raises:
        ModelError: if the models do not hold the same convolutions, or one of them cannot be measured.
    """
    first, second = ({layer.label: layer for layer in _chosen(model, include, exclude)} for model in (before, after))
    check_same(dict.fromkeys(first), dict.fromkeys(second), "convolutions")
    pairs, seen = [], set[tuple[int, int]]()
    for name, layer in first.items():
        other = second[name]
        if layer.layout() != other.layout():
            problem, expected, found = "the two models differ in this convolution", _described(layer), _described(other)
            raise ModelError(problem, where=name, expected=expected, found=found, remedy=ONE_ARCHITECTURE)
        tensors = id(layer.weight), id(other.weight)
        if tensors not in seen:
            seen.add(tensors)
            pairs.append(KernelPair(_kernel(layer), _kernel(other)))
    return tuple(pairs)


def sampled(population: int, most: int, seed: int) -> Tensor:
    """Return the indices [min(population, most)] of a sample without repetition, ascending; all if they fit."""
    if population <= most:
        return torch.arange(population)
    chosen = torch.randperm(population, generator=torch.Generator().manual_seed(seed))[:most]
    return chosen.sort().values


@dataclass(frozen=True)
class BlockView:
    """Which blocks of a layer are looked at, as refocusing sees them: the indices ``chosen`` [b] of ``total``."""

    kernel_size: tuple[int, ...]
    map_size: tuple[int, ...]
    order: Order
    total: int
    chosen: Tensor

    @classmethod
    def choose(cls, kernel: Kernel, map_size: int | Sequence[int], order: Order, seed: int) -> BlockView:
        """Choose blocks of a layer, all or a sample of very many; the map size is cut to what the kernel allows."""
        layout = replace(kernel.layout, order=order)
        sizes, (blocks, m, k) = layout.map_size(map_size), layout.block_shape
        cost = 10 * k**3 + m * m * prod(sizes) * k
        chosen = sampled(blocks, max(_LEAST_BLOCKS, min(_MOST_BLOCKS, _COST // cost)), seed)
        return cls(layout.slice_size, sizes, order, blocks, chosen)

    def of(self, kernel: Kernel) -> Tensor:
        """Return the blocks [b, m, k] of a kernel."""
        return replace(kernel.layout, order=self.order).to_blocks(kernel.weight)[self.chosen]

    def output_channels(self, kernel: Kernel) -> Tensor:
        """Return to which output channel every slice of the blocks belongs [b, m]."""
        one_tap = replace(kernel.layout, kernel_size=(1,) * len(self.kernel_size), order="contiguous", experts=None)
        slices = one_tap.blocks * one_tap.groups
        experts = kernel.layout.experts or 1
        numbers = torch.arange(slices) // one_tap.in_per_group
        found = replace(one_tap, order=self.order).to_blocks(one_tap.from_blocks(numbers.reshape(one_tap.block_shape)))
        channels = one_tap.groups * one_tap.out_per_group
        return torch.cat([found[..., 0] + expert * channels for expert in range(experts)])[self.chosen]


def rounded(rows: Tensor) -> tuple[tuple[float, ...], ...]:
    """Return a matrix to four significant digits, more than a picture shows, which keeps records small."""
    return tuple(tuple(float(f"{value:.4g}") for value in row) for row in rows.tolist())


def _chosen(model: Any, include: Selection, exclude: Selection) -> list[Layer]:
    if not isinstance(model, nn.Module):
        raise ModelError("no model to analyse", expected="a torch.nn.Module", found=type(model).__name__)
    layers = find_layers(model)
    choices = select(layers, include, exclude)
    for choice in choices:
        by = ", ".join(choice.layer.parametrized_by)
        if by and choice.skipped in (None, choice.layer.obstacle):
            problem = f"the kernel is {choice.layer.obstacle or f'computed by {by}'}; analysis reads plain models"
            raise ModelError(problem, where=choice.layer.label, remedy=PLAIN if choice.layer.refocused else FOLD)
    choices = [Choice(one.layer, one.skipped or _unmeasured(one.layer)) for one in choices]
    chosen = [choice.layer for choice in choices if choice.skipped is None]
    if not chosen:
        reasons = sorted({choice.skipped for choice in choices if choice.skipped})
        expected, found = "at least one convolution with more than one tap", "; ".join(reasons) or "no convolution"
        raise ModelError("nothing to analyse", where=type(model).__name__, expected=expected, found=found)
    return chosen


def _unmeasured(layer: Layer) -> str | None:
    """Why a kernel that can be refocused is not measured, or None."""
    return "its weight is complex" if layer.layout().parts > 1 else None


def _described(layer: Layer) -> str:
    family = "transposed " if layer.family == "transposed" else ""
    return f"{family}{layer.kind} {list(layer.shape)}"


def _kernel(layer: Layer) -> Kernel:
    weight = layer.weight
    if weight is None or is_lazy(weight) or weight.is_meta:
        raise ModelError("the kernel has no values yet", where=layer.label, remedy="load the model's weights first")
    whole = weight.full_tensor() if hasattr(weight, "full_tensor") else weight  # sharded kernels, gathered
    values = whole.detach().to(device="cpu", dtype=torch.float64, copy=True).contiguous()
    if not bool(torch.isfinite(values).all()):
        raise ModelError("the kernel has entries that are not finite", where=layer.label, remedy="load valid weights")
    return Kernel(layer.label, layer.kind, layer.layout(), values)
