"""Refocusing a model in place, and making its kernels the next bases; wrapped and sharded models, refused."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from refconv.config import RefocusConfig, RefocusSettings, TransformConfig
from refconv.errors import LayerError, ModelError
from refconv.layers import Layer, Masks, admitted, apply_masks, find_layers, matched, select_trained
from refconv.parametrizations import ForwardScope, KernelTransform, config_of, layout_at, transform_named
from refconv.surgery.places import attach, places, transform_of as transform_of, transformed as transformed
from refconv.surgery.planning import Plan, describe

if TYPE_CHECKING:
    from typing_extensions import Unpack

Transforms = list[tuple[list[Layer], KernelTransform]]  # a transformation for every kernel, with those that share it

# Wrappers by class name, so that none of their packages is loaded to look for them, with the way back.
_WRAPPERS = {
    "DistributedDataParallel": "the plain model is its .module; wrap after refocusing",
    "DataParallel": "the plain model is its .module; wrap after refocusing",
    "FullyShardedDataParallel": "shard after refocusing, and merge from the gathered full state dict",
    "FSDPModule": "shard after refocusing, and merge from the gathered full state dict",
}
_COMPILED = "OptimizedModule"


def refocus(
    model: nn.Module,
    config: RefocusConfig | None = None,
    *,
    mask: Masks | None = None,
    **settings: Unpack[RefocusSettings],
) -> Plan:
    """Freeze a model's convolution kernels as bases and put a trainable refocusing transformation on each.

    In place, and all or nothing. With the default start the model computes bit for bit what it did before. Call
    it after loading weights and moving to the device, before compiling, wrapping with DDP or making the optimizer.
    Only tensors change: modules, forwards and hyperparameters stay. Kernels that are frozen (``requires_grad`` False)
    are left alone, as in gradient space. Afterwards bases cannot be trained, and writing to a kernel is an error.
    Returns the plan that was carried out.

    Args:
        model: any module with convolutions.
        config: all settings.
        mask: boolean tensors by the names of layers, in the shapes of their kernels. Entries outside are set to zero
            and stay so, as with ``zeros="keep"``, which a mask implies; also those of weights that are loaded later.
        **settings: single settings in place of ``config``: the fields of :class:`refconv.RefocusConfig`.

    Raises:
        SettingError: if a setting is unknown or out of its range, a pattern matches nothing, or a mask fits no layer.
        LayerError: if a kernel is refocused already, lazy, without values, not finite, all zero, or shared with one
            that is not chosen. The model is untouched then.
        ModelError: if the model is wrapped, or nothing in it can be refocused.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
        >>> refocus(model, include="depthwise").extra_parameters
        576
    """
    return reparametrize(model, RefocusConfig.of(config, settings), mask=mask)


def reparametrize(
    model: nn.Module, config: TransformConfig | str, *, mask: Masks | None = None, **settings: Any
) -> Plan:
    """Freeze a model's convolution kernels as bases and put a trainable transformation on each.

    :func:`refconv.refocus` is the case ``"refocus"`` of this and says what all of them share. Merging, verifying,
    saving and dropping work the same for all. Returns the plan that was carried out.

    Args:
        model: any module with convolutions.
        config: the transformation and its settings, such as ``LowRankConfig(rank=4)``, or its name alone, one of
            :data:`refconv.parametrizations.TRANSFORMS`.
        mask: as in :func:`refconv.refocus`.
        **settings: with a name, the settings that are not to have their defaults.

    Raises:
        SettingError: as :func:`refconv.refocus`, or if there is no such transformation.
        LayerError: as :func:`refconv.refocus`.
        ModelError: as :func:`refconv.refocus`.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
        >>> reparametrize(model, "low_rank", rank=2).extra_parameters
        104
    """
    complete = config_of(config, settings)
    complete = complete if mask is None else dataclasses.replace(complete, zeros="keep")
    verb = "refocus" if complete.method == "refocus" else "reparametrize"
    check_plain(model, verb)
    choices = select_trained(find_layers(model), complete.include, complete.exclude, one_tap=complete.one_tap)
    chosen = admitted(model, choices)
    for layer in chosen:
        check_unsharded(layer)
    pairs = matched(mask, chosen)
    with applied(pairs):
        done = describe(model, choices, complete)
        transforms = transforms_at(chosen, lambda layer, scope: transform_at(layer, complete, scope))
        attach_all(model, transforms, pairs)
    return done


@contextmanager
def applied(pairs: list[tuple[Layer, Tensor]]) -> Iterator[None]:
    """Apply masks, and take them back if what follows fails."""
    kept = [(layer.weight, layer.weight.detach().clone()) for layer, _ in pairs if layer.weight is not None]
    apply_masks(pairs)
    try:
        yield
    except BaseException:
        for weight, value in kept:
            weight.data.copy_(value)
        raise


def transform_at(layer: Layer, config: TransformConfig, scope: ForwardScope) -> KernelTransform:
    """Return a new transformation for a layer, not yet attached."""
    assert layer.weight is not None
    return transform_named(config.method)(layer.label, layer.weight, layout_at(layer, config), scope, config)


def transforms_at(layers: Iterable[Layer], make: Callable[[Layer, ForwardScope], KernelTransform]) -> Transforms:
    """Make a transformation for every kernel, not yet attached; all share a forward scope."""
    scope = ForwardScope()
    found: dict[int, tuple[list[Layer], KernelTransform]] = {}
    for layer in layers:
        if id(layer.weight) not in found:
            found[id(layer.weight)] = [], make(layer, scope)
        found[id(layer.weight)][0].append(layer)
    return list(found.values())


def attach_all(model: nn.Module, transforms: Transforms, pairs: Iterable[tuple[Layer, Tensor]] = ()) -> None:
    """Put transformations on the kernels that they were made for, and their scope on the model.

    Masks that were applied are kept for weights that are loaded later.
    """
    if transforms[0][1].scope.told and any(place.transform.scope.told for place in places(model)):
        what, remedy = "other layers share a setting of the network already", "choose all layers in one call"
        raise ModelError(what, where=type(model).__name__, expected="no transformed kernels", remedy=remedy)
    under_masks = {layer for layer, _ in pairs}
    for sharers, transform in transforms:
        if (weight := sharers[0].weight) is not None and not under_masks.isdisjoint(sharers):
            transform.given = weight.detach() != 0
        attach(sharers, transform)
    transforms[0][1].scope.attach(model)


@torch.no_grad()
def rebase(model: nn.Module) -> list[nn.Parameter]:
    """Make every refocused kernel its own base and let its transformation start anew, in place.

    The model computes what it did before, and its parameters stay the ones that an optimizer knows. What the optimizer
    remembers of them belongs to the former bases and is to be dropped. Returns the parameters that started anew.
    """
    found = list(places(model))
    kernels = {id(place.transform): place.kernel() for place in found}
    fresh: dict[int, nn.Parameter] = {}
    for place in found:
        place.base.copy_(kernels[id(place.transform)])
        place.transform.follow(place.base)
        place.transform.reset(place.base)
        fresh.update((id(parameter), parameter) for parameter in place.transform.parameters())
    return list(fresh.values())


MERGE_FIRST = "merge first: refconv.merge(model), or give refconv.merged(model), a copy"
"""The remedy where a plain model is needed, for whoever has the refocused one in Python."""


def check_unwrapped(model: nn.Module, verb: str) -> None:
    """Refuse what is no module, or wrapped by DDP or FSDP. Compiled models are compiled again, so they may pass."""
    if not isinstance(model, nn.Module):
        raise ModelError(f"cannot {verb} this", expected="a torch.nn.Module", found=type(model).__name__)
    for name, module in model.named_modules():
        for base in type(module).__mro__:
            if base.__name__ in _WRAPPERS:
                what, remedy = f"cannot {verb} a model that is wrapped by {base.__name__}", _WRAPPERS[base.__name__]
                raise ModelError(what, where=name or type(model).__name__, remedy=remedy)


def check_plain(model: nn.Module, verb: str) -> None:
    """Refuse a wrapped model, also by ``torch.compile`` where names show it: patterns and files mean plain names."""
    check_unwrapped(model, verb)
    for name, module in model.named_modules():
        if type(module).__name__ == _COMPILED:
            inner = f"model.{name}._orig_mod" if name else "model._orig_mod"
            what = f"cannot {verb} through the wrapper of torch.compile"
            remedy = f"{verb} before torch.compile(...), or compile by module.compile(); the plain one is {inner}"
            raise ModelError(what, where=name or _COMPILED, remedy=remedy)


def is_compiled(model: nn.Module) -> bool:
    """Say whether ``torch.compile`` made something of a model or of one of its modules, in place or as a wrapper."""
    return any(one._compiled_call_impl is not None or type(one).__name__ == _COMPILED for one in model.modules())


def plain_name(name: str) -> str:
    """Return a name of a tensor or module without the wrappers of ``torch.compile`` in it."""
    return re.sub(r"(?:^|(?<=\.))_orig_mod[.]", "", name)


def check_unsharded(layer: Layer) -> None:
    """Refuse a kernel of which every process holds a part only."""
    if hasattr(layer.weight, "device_mesh"):
        raise LayerError("the kernel is sharded (DTensor)", where=layer.label, remedy="refocus first, then shard")
