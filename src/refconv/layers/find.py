"""Finding the convolution kernels of a model and saying what they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from refconv.errors import SettingError
from refconv.ops import Layout, Order, effective_map_size

Kind = Literal["depthwise", "grouped", "dense", "pointwise"]
Family = Literal["conv", "transposed", "condconv", "deformable"]

# Modules that hold a convolution kernel without deriving from torch's convolutions, by the name of their class:
# neither timm nor torchvision need be installed to recognise theirs.
_FOREIGN: dict[str, Family] = {"CondConv2d": "condconv", "DeformConv2d": "deformable"}
PARAMETRIZED, NO_PARAMETER = "already parametrized by", "its weight is not a parameter"
"""Why a kernel cannot be transformed that something else computes: torch's parametrizations; older hooks."""

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
    parametrized_by: tuple[str, ...] = ()  #: class names of the parametrizations on the kernel, if any
    shared_with: tuple[str, ...] = ()  #: where else the same tensor is stored, as ``module.tensor``

    @property
    def label(self) -> str:
        """The name as it is shown to people."""
        return self.name or "(the model itself)"

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the stored kernel, also known where it is not yet initialised."""
        return self.layout().weight_shape

    @property
    def obstacle(self) -> str | None:
        """Why this kernel cannot be transformed at all, or None."""
        if self.parametrized_by:
            return f"{PARAMETRIZED} {', '.join(self.parametrized_by)}"
        if self.weight is not None and is_lazy(self.weight):
            return None  # found, and refused with a remedy of its own when it is asked for
        if not isinstance(self.weight, nn.Parameter):
            return NO_PARAMETER
        if not self.weight.is_floating_point():
            return f"its weight is of type {str(self.weight.dtype).removeprefix('torch.')}"
        if tuple(self.weight.shape) != self.shape:
            return f"its weight has shape {list(self.weight.shape)} where {list(self.shape)} was expected"
        return None

    @property
    def frozen(self) -> bool:
        """Whether the kernel is kept from training (``requires_grad`` is False)."""
        return isinstance(self.weight, nn.Parameter) and not self.weight.requires_grad

    def layout(self, order: Order = "contiguous") -> Layout:
        """Return how the kernel's slices are gathered into blocks."""
        channels = self.groups, self.out_channels // self.groups, self.in_channels // self.groups
        experts = getattr(self.module, "num_experts", None) if self.family == "condconv" else None
        return Layout(*channels, self.kernel_size, self.family == "transposed", experts, order)

    def map_size(self, map_size: int | Sequence[int]) -> tuple[int, ...]:
        """Return the taps of a refocusing map here, per dimension: as asked for, cut to what the kernel allows.

        Raises:
            SettingError: if the size does not fit; the message names this layer.
        """
        try:
            return effective_map_size(self.kernel_size, map_size)
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
    holders = _holders(model)
    layers = []
    for name, module in model.named_modules():
        family = _family(module)
        if family is None:
            continue
        weight, transforms = _stored_weight(module)
        others = tuple(holder for holder in holders.get(id(weight), ()) if holder != f"{dotted(name)}weight")
        size = module.kernel_size  # the foreign classes, all two-dimensional, may hold a single number for both
        kernel_size = tuple(int(taps) for taps in ((size, size) if isinstance(size, int) else size))
        groups, inputs, outputs = (int(getattr(module, key)) for key in ("groups", "in_channels", "out_channels"))
        kind = _kind(groups, inputs, outputs, kernel_size)
        sizes = inputs, outputs, groups, kernel_size
        layers.append(Layer(name, module, kind, family, *sizes, weight, transforms, others))
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


def _stored_weight(module: nn.Module) -> tuple[Tensor | None, tuple[str, ...]]:
    """The tensor that holds the kernel, and the classes of the parametrizations that act on it."""
    if "weight" in module._parameters:
        return module._parameters["weight"], ()
    lists = module._modules.get("parametrizations")
    if isinstance(lists, nn.ModuleDict) and "weight" in lists:
        transforms = lists["weight"]
        classes = tuple(type(transform).__name__ for transform in transforms.children())
        return getattr(transforms, "original", None), classes
    return None, ()


def _holders(model: nn.Module) -> dict[int, list[str]]:
    """Where each parameter is stored, by its identity; aliases of one module count once."""
    holders: dict[int, list[str]] = defaultdict(list)
    for name, module in model.named_modules():
        for key, parameter in module._parameters.items():
            if name.endswith("parametrizations.weight") and key == "original":
                holders[id(parameter)].append(name.removesuffix("parametrizations.weight") + "weight")
            elif parameter is not None:
                holders[id(parameter)].append(dotted(name) + key)
    return holders
