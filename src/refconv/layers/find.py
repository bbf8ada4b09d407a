"""The convolution kernels of a model: where they are and what they are."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from refconv.errors import SettingError
from refconv.layers.sources import written_kernels
from refconv.layers.stored import KERNEL, shown, stored_kernel
from refconv.ops import Layout, Order

Kind = Literal["depthwise", "grouped", "dense", "pointwise"]
Family = Literal["conv", "transposed", "condconv", "deformable"]

# Modules that hold a convolution kernel without deriving from torch's convolutions, by the name of their class:
# neither timm nor torchvision need be installed to recognise theirs.
_FOREIGN: dict[str, Family] = {"CondConv2d": "condconv", "DeformConv2d": "deformable"}
PARAMETRIZED, NO_PARAMETER = "already parametrized by", "its weight is not a parameter"
WRITTEN = "its kernel is written by"
NO_BASE = "its kernel is computed from tensors that are no kernel, by"
"""Why a kernel cannot be transformed: it is already, nothing trains it, or nothing stored is like it."""

KINDS: tuple[str, ...] = get_args(Kind)
FAMILIES: tuple[str, ...] = get_args(Family)


def dotted(name: str) -> str:
    """Return a module's name as it begins the names of its tensors: with a dot, or empty for the model itself."""
    return f"{name}." if name else ""


@dataclass(frozen=True, eq=False)
class Layer:
    """One convolution's kernel inside a model."""

    name: str  #: the module's name inside the model; empty when the model itself is the convolution
    module: nn.Module
    kind: Kind  #: ``pointwise`` if the kernel has one tap, else ``depthwise``, ``grouped`` or ``dense``
    #: ``conv``, ``transposed``, ``condconv`` (timm's flattened experts) or ``deformable`` (torchvision's)
    family: Family
    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]  #: taps per spatial dimension
    weight: Tensor | None  #: the stored kernel; None if the module has none of its own to train
    #: class names of what computes the kernel from the stored one, in order: parametrizations and hooks of torch
    parametrized_by: tuple[str, ...] = ()
    shared_with: tuple[str, ...] = ()  #: where else the same tensor is stored, as ``module.tensor``
    tensor: str = KERNEL  #: name of the stored kernel in the plain module
    refocused: bool = False  #: whether a transformation of this package is the first of ``parametrized_by``
    written_by: str | None = None  #: the method of a forward that writes to the kernel

    @property
    def label(self) -> str:
        """The name as it is shown to people."""
        return self.name or "(the model itself)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stored kernel, also known where it is not yet initialised."""
        return self.layout().weight_shape

    @property
    def holder(self) -> str:
        """Where the stored kernel is in the model, as people know it: ``stem.weight``."""
        return shown(f"{dotted(self.name)}{self.tensor}")

    @property
    def key(self) -> str:
        """The name of the stored kernel in the state dict of the plain model."""
        return f"{dotted(self.name)}{self.tensor}"

    @property
    def obstacle(self) -> str | None:
        """Why this kernel cannot be transformed at all, or None."""
        if self.refocused:
            return f"{PARAMETRIZED} {', '.join(self.parametrized_by)}"
        if self.weight is not None and is_lazy(self.weight):
            return None  # found, and refused with a remedy of its own when it is asked for
        if not isinstance(self.weight, nn.Parameter):
            return f"{NO_BASE} {', '.join(self.parametrized_by)}" if self.parametrized_by else NO_PARAMETER
        if not (self.weight.is_floating_point() or self.weight.is_complex()):
            return f"its weight is of type {str(self.weight.dtype).removeprefix('torch.')}"
        if tuple(self.weight.shape) != self.shape:
            return f"its weight has shape {list(self.weight.shape)} where {list(self.shape)} was expected"
        return None

    @property
    def request(self) -> str | None:
        """Why this kernel is transformed only where its exact name is asked for, or None."""
        if self.written_by is not None:
            return f"{WRITTEN} {self.written_by}"
        if self._own_shape is not None:
            found, expected = list(self._own_shape), list(self._layout("contiguous").weight_shape)
            return f"its weight has shape {found} where {expected} was expected"
        return None

    @property
    def _own_shape(self) -> tuple[int, ...] | None:
        """The shape of a stored kernel that a subclass expands or repeats to that of its convolution."""
        if self.weight is None or is_lazy(self.weight):
            return None
        shape, kernel_size = tuple(self.weight.shape), self.kernel_size
        unusual = shape != self._layout("contiguous").weight_shape
        return shape if unusual and len(shape) == 2 + len(kernel_size) and shape[2:] == kernel_size else None

    @property
    def frozen(self) -> bool:
        """Whether the kernel is kept from training (``requires_grad`` is False)."""
        return isinstance(self.weight, nn.Parameter) and not self.weight.requires_grad

    def layout(self, order: Order = "contiguous") -> Layout:
        """Return how the kernel's slices are gathered into blocks; those of unusual shapes are a block each."""
        if self._own_shape is None:
            return self._layout(order)
        outer, inner = self._own_shape[:2]
        return dataclasses.replace(
            self._layout(order), groups=1, out_per_group=outer, in_per_group=inner, transposed=False
        )

    def _layout(self, order: Order) -> Layout:
        channels = self.groups, self.out_channels // self.groups, self.in_channels // self.groups
        experts = getattr(self.module, "num_experts", None) if self.family == "condconv" else None
        parts = 1
        if self.weight is not None and not is_lazy(self.weight):
            parts = 2 if self.weight.is_complex() else 1
        return Layout(*channels, self.kernel_size, self.family == "transposed", experts, order, parts)

    def map_size(self, map_size: int | Sequence[int], order: Order = "contiguous") -> tuple[int, ...]:
        """Return the taps of a refocusing map here, per dimension: as asked for, cut to what the kernel allows."""
        try:
            return self.layout(order).map_size(map_size)
        except SettingError as error:
            where = f"map_size at {self.label}"
            raise SettingError(error.what, where=where, expected=error.expected, found=error.found) from None


def find_layers(model: nn.Module) -> list[Layer]:
    """Return every convolution kernel of a model, in the order of its modules.

    Pointwise kernels and the opt-in families are included; :func:`refconv.layers.select` chooses among them. A module
    with several names appears once, under the first. Tensors on the meta device and lazy modules are fine here.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.ReLU(), nn.Conv2d(8, 4, 1))
        >>> [(layer.name, layer.kind) for layer in find_layers(model)]
        [('0', 'depthwise'), ('2', 'pointwise')]
    """
    holders, written = _holders(model), written_kernels(model)
    layers = []
    for name, module in model.named_modules():
        family = _family(module)
        if family is None:
            continue
        size = module.kernel_size  # the foreign classes, all two-dimensional, may hold a single number for both
        kernel_size = tuple(int(taps) for taps in ((size, size) if isinstance(size, int) else size))
        groups, inputs, outputs = (int(getattr(module, key)) for key in ("groups", "in_channels", "out_channels"))
        kind = _kind(groups, inputs, outputs, kernel_size)
        layer = Layer(name, module, kind, family, inputs, outputs, groups, kernel_size, None)
        found = stored_kernel(module, layer.shape)
        own = shown(f"{dotted(name)}{found.tensor}")
        shared = tuple(holder for holder in holders.get(id(found.value), ()) if holder != own)
        layers.append(
            dataclasses.replace(
                layer,
                weight=found.value,
                parametrized_by=found.through,
                shared_with=shared,
                tensor=found.tensor,
                refocused=found.refocused,
                written_by=written.get(name),
            )
        )
    return layers


def _family(module: nn.Module) -> Family | None:
    if isinstance(module, _ConvNd):
        return "transposed" if module.transposed else "conv"
    return next((_FOREIGN[base.__name__] for base in type(module).__mro__ if base.__name__ in _FOREIGN), None)


def _kind(groups: int, inputs: int, outputs: int, kernel_size: tuple[int, ...]) -> Kind:
    if prod(kernel_size) == 1:
        return "pointwise"
    if groups == 1:
        return "dense"
    return "depthwise" if groups in (inputs, outputs) else "grouped"


def _holders(model: nn.Module) -> dict[int, list[str]]:
    """Where each parameter is stored, by its identity; aliases of one module count once."""
    holders: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if parameter is not None:
                holders[id(parameter)].append(shown(dotted(name) + key))
    return holders
