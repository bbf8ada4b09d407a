"""The convolution kernels of a model: where they are, what they are, which of them are meant, which are refused."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.parameter import is_lazy

from refconv.config import Pattern, Selection as Selection, checked_patterns
from refconv.errors import LayerError, ModelError, SettingError, did_you_mean
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

# Kernels that are chosen only when asked for by one of these words or by their exact name.
_OPT_IN = ("pointwise", "condconv", "deformable")
FROZEN = "its weight is frozen"  #: Why a chosen kernel is not trained whose ``requires_grad`` is False
_UTILS = "torch.nn.utils."
_REMEDIES = {  # what makes kernels trainable, by how the reason begins for which they are not
    FROZEN: "requires_grad_(True) on the kernels to train",
    PARAMETRIZED: f"fold it into the kernels first: {_UTILS}parametrize.remove_parametrizations(module, 'weight')",
    NO_PARAMETER: f"fold into the kernels what computes them: {_UTILS}remove_weight_norm(module), or prune.remove",
}


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
        """Return the taps of a refocusing map here, per dimension: as asked for, cut to what the kernel allows."""
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


@dataclass(frozen=True)
class Choice:
    """A layer and, if it was not chosen, the reason."""

    layer: Layer
    skipped: str | None


def select(layers: Sequence[Layer], include: Selection = None, exclude: Selection = None) -> list[Choice]:
    """Decide for every layer whether it is chosen, and say why where it is not.

    A pattern is a kind (``depthwise``, ``grouped``, ``dense``, ``pointwise``), a family (``transposed``,
    ``condconv``, ``deformable``), a glob on the module's name (``stages.*.conv_dw``) or a regular expression,
    compiled or written as ``re:...``, which is searched in the name. Without ``include``, every kernel with more
    than one tap is chosen, except the opt-in families. Pointwise, CondConv and deformable kernels are chosen only
    when ``include`` says their kind or family, or their exact name. ``exclude`` wins over ``include``.

    Raises:
        SettingError: if a pattern matches no layer at all, so that it would have no effect.
    """
    included, excluded = _patterns(layers, include, "include"), _patterns(layers, exclude, "exclude")
    return [Choice(layer, _reason(layer, included if include is not None else None, excluded)) for layer in layers]


def select_trained(layers: Sequence[Layer], include: Selection = None, exclude: Selection = None) -> list[Choice]:
    """Decide for every layer whether it is trained: those that :func:`select` chooses and that are not frozen.

    A frozen kernel stays as it is also where ``include`` names it; ``requires_grad_(True)`` on its weight unfreezes it.
    """
    choices = select(layers, include, exclude)
    return [Choice(one.layer, FROZEN) if one.skipped is None and one.layer.frozen else one for one in choices]


def _reason(layer: Layer, included: list[Pattern] | None, excluded: list[Pattern]) -> str | None:
    for word in _OPT_IN:  # asked for by that word itself or by the layer's exact name
        asked = included is not None and any(pattern in (word, layer.name) for pattern in included)
        if word in (layer.kind, layer.family) and not asked:
            return "one tap" if word == "pointwise" else f"only on request: include={word!r}"
    if included is not None and not any(_matches(pattern, layer) for pattern in included):
        return "not included"
    for pattern in excluded:
        if _matches(pattern, layer):
            return f"excluded by {getattr(pattern, 'pattern', pattern)!r}"
    return layer.obstacle


def _matches(pattern: Pattern, layer: Layer) -> bool:
    if isinstance(pattern, re.Pattern):
        return pattern.search(layer.name) is not None
    if pattern in KINDS or pattern in FAMILIES:
        return pattern in (layer.kind, layer.family)
    return fnmatch.fnmatchcase(layer.name, pattern)


def _patterns(layers: Sequence[Layer], selection: Selection, where: str) -> list[Pattern]:
    """Return the patterns of a selection, compiled; each must match a layer."""
    patterns: list[Pattern] = []
    for pattern in checked_patterns(where, selection) or ():
        if isinstance(pattern, str) and pattern.startswith("re:"):
            pattern = re.compile(pattern.removeprefix("re:"))
        patterns.append(pattern)
        harmless = where == "exclude" and pattern in (*KINDS, *FAMILIES)
        if not harmless and not any(_matches(pattern, layer) for layer in layers):
            text = str(getattr(pattern, "pattern", pattern))
            similar = did_you_mean(text, [*KINDS, *FAMILIES, *(layer.name for layer in layers)])
            remedy = similar or "refconv.plan(model) lists the names"
            raise SettingError(f"{text!r} matches no convolution", where=where, remedy=remedy)
    return patterns


def admitted(model: nn.Module, choices: Sequence[Choice], ours: Sequence[str]) -> list[Layer]:
    """Return the chosen layers of a model, refusing any that is transformed by one of our classes, or no base."""
    for layer in (choice.layer for choice in choices if choice.skipped and choice.skipped == choice.layer.obstacle):
        if set(layer.parametrized_by) & set(ours):
            what = f"the kernel is refocused already ({', '.join(layer.parametrized_by)})"
            remedy = "merge(model) to keep what it learned or unrefocus(model) to drop it, then refocus again"
            raise LayerError(what, where=layer.label, remedy=remedy)
    chosen = [choice.layer for choice in choices if choice.skipped is None]
    if not chosen:
        reasons = sorted({choice.skipped for choice in choices if choice.skipped})
        expected, found = "at least one convolution with more than one tap", "; ".join(reasons) or "no convolution"
        remedies = (_REMEDIES[why] for why in _REMEDIES if any(reason.startswith(why) for reason in reasons))
        about = {"where": type(model).__name__, "expected": expected, "found": found, "remedy": next(remedies, None)}
        raise ModelError("nothing to refocus", **about)
    check_shared(chosen)
    for layer in chosen:
        check_base(layer)
    return chosen


def check_base(layer: Layer) -> None:
    """Refuse a kernel that cannot serve as a base: lazy, on the meta device, not finite or all zero."""
    weight = layer.weight
    if weight is None or is_lazy(weight):
        what, remedy = "the kernel is not initialised yet", "run one batch through the model first"
    elif weight.is_meta:
        what, remedy = "the kernel has no values (meta device)", "materialise and load the model first"
    else:
        values = weight.full_tensor() if hasattr(weight, "full_tensor") else weight  # sharded kernels, gathered
        if not bool(torch.isfinite(values).all()):
            what, remedy = "the kernel has entries that are not finite", "load valid weights"
        elif bool(values.any()):
            return
        else:
            what = "the kernel is all zero: a refocused kernel would stay zero"
            remedy = f"load pretrained weights, or exclude={layer.name!r}"
    raise LayerError(what, where=layer.label, remedy=remedy)


def check_shared(chosen: Sequence[Layer]) -> None:
    """Refuse a kernel that is also stored where it was not chosen, or read there in another layout."""
    by_holder = {f"{dotted(layer.name)}weight": layer for layer in chosen}
    for layer in chosen:
        for holder in layer.shared_with:
            other = by_holder.get(holder)
            if other is None:
                what, remedy = "which is not chosen", f"choose both, exclude={layer.name!r}, or"
            elif other.layout() != layer.layout():
                what, remedy = "which reads it with other groups or strides of slices", "exclude both, or"
            else:
                continue
            what, remedy = f"the kernel is shared with {holder}, {what}", f"{remedy} give each a copy of its own"
            raise LayerError(what, where=layer.label, remedy=remedy)
