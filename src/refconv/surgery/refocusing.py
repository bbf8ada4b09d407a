"""Putting transformations on the kernels of a model and taking them off again; wrapped and sharded models, refused.

Note [Taking off]: torch's ``remove_parametrizations`` deletes the property from the module's dynamically made class,
which copies of the module share, so merging an EMA copy would break the model in training. Here the class is never
edited: the one module that is taken off gets its former class back.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from refconv.config import RefocusConfig, RefocusSettings, TransformConfig
from refconv.errors import LayerError, ModelError
from refconv.layers import Layer, admitted, find_layers, select_trained
from refconv.parametrizations import TRANSFORMS, Base, ForwardScope, KernelTransform, config_of, layout_at
from refconv.surgery.planning import Plan, describe

if TYPE_CHECKING:
    from typing_extensions import Unpack

Transforms = list[tuple[list[Layer], KernelTransform]]  # a transformation for every kernel, with those that share it

_TENSOR = "weight"
STEM = f"parametrizations.{_TENSOR}."
SETTINGS = "refconv"  #: Under which name a transformation's settings stand in the metadata of a state dict

# Wrappers by class name, so that none of their packages is loaded to look for them, with the way back.
_WRAPPERS = {
    "DistributedDataParallel": "refocus first, then wrap with DDP; the plain model is its .module",
    "DataParallel": "refocus first, then wrap; the plain model is its .module",
    "FullyShardedDataParallel": "refocus first, then shard; merge from the gathered full state dict",
    "FSDPModule": "refocus first, then shard; merge from the gathered full state dict",
}
_COMPILED = "OptimizedModule"


def attach(modules: list[nn.Module], transform: KernelTransform) -> None:
    """Put a transformation on the kernel of a module, or of several that share one.

    Plain checkpoints still load strictly, and loading any prepares the transformation for the base it brought.
    """
    for module in modules:
        names = list(module._parameters)
        parametrize.register_parametrization(module, _TENSOR, transform, unsafe=True)
        _explain_pickling(type(module))
        parametrizations = _list(module)
        Base.freeze(parametrizations.original)
        parametrizations.parameter_order = names
        parametrizations.register_load_state_dict_post_hook(lambda loaded, _: loaded[0].follow(loaded.original))
        module.register_load_state_dict_pre_hook(_accept_plain_checkpoint)
    transform.remember(base_of(modules[0]))
    transform.register_state_dict_post_hook(_say_settings)
    transform.register_load_state_dict_pre_hook(_check_settings)
    transform.sealed = True


def _explain_pickling(parametrized: type[nn.Module]) -> None:
    """Let the dynamically made class of a module say what to save instead; torch cannot pickle it."""
    of_torch: Any = parametrized.__getstate__

    def refuse(self: nn.Module) -> Any:
        transform = transform_of(self)
        if transform is None:
            return of_torch(self)
        remedy = "save model.state_dict(), or refconv.merged(model), or what was learned by refconv.save_adapter"
        raise ModelError("a refocused module cannot be pickled", where=transform.layer, remedy=remedy)

    parametrized.__getstate__ = refuse  # type: ignore[method-assign]  # a class made by torch, for this module


def detach(module: nn.Module, kernel: Tensor | None) -> None:
    """Take the transformation off a module, whose weight becomes the kernel; None leaves the base."""
    parametrizations = _list(module)
    transform, weight = parametrizations[0], parametrizations.original
    if kernel is not None:
        with torch.no_grad():
            weight.copy_(kernel)
    Base.release(weight, transform.base_requires_grad)
    former, lists = type(module), module._modules["parametrizations"]
    assert isinstance(lists, nn.ModuleDict)
    del lists[_TENSOR]
    plain = former.__bases__[0]
    if len(lists) == 0:
        del module._modules["parametrizations"]
        module.__class__ = plain
    else:  # another tensor of this module is parametrized too: keep its property, in a class of this module's own
        kept = {key: value for key, value in vars(former).items() if key not in (_TENSOR, "__dict__", "__weakref__")}
        module.__class__ = type(former.__name__, (plain,), kept)
    own = {**module._parameters, _TENSOR: weight}
    former_order = [name for name in parametrizations.parameter_order if name in own]
    module._parameters.clear()
    module._parameters.update({name: own[name] for name in (*former_order, *own)})
    hooks = module._load_state_dict_pre_hooks
    for number in [n for n, hook in hooks.items() if getattr(hook, "hook", hook) is _accept_plain_checkpoint]:
        del hooks[number]


def transform_of(module: nn.Module) -> KernelTransform | None:
    """Return the transformation of this package on a module's kernel, if there is one."""
    lists = module._modules.get("parametrizations")
    first = _list(module)[0] if isinstance(lists, nn.ModuleDict) and _TENSOR in lists else None
    return first if isinstance(first, KernelTransform) else None


def transformed(model: nn.Module, aliases: bool = False) -> Iterator[tuple[str, nn.Module, KernelTransform]]:
    """Yield (name, module, transformation) for every transformed layer, with ``aliases`` under all its names."""
    for name, module in model.named_modules(remove_duplicate=not aliases):
        transform = transform_of(module)
        if transform is not None:
            yield name, module, transform


def kernel_of(module: nn.Module) -> Tensor:
    """Return the kernel that a transformed module uses now, detached and in a tensor of its own."""
    check_alone(module)
    transform, base = _list(module)[0], base_of(module)
    transform.catch_up(base)
    with torch.no_grad():
        kernel: Tensor = transform.kernel(base)
    return kernel.clone(memory_format=torch.preserve_format)


def check_alone(module: nn.Module) -> None:
    """Refuse a transformed module on top of whose transformation another parametrization was stacked."""
    transform, *others = _list(module)
    if others:
        path = f"model.get_submodule({transform.layer!r}).parametrizations.{_TENSOR}"
        what = f"another parametrization ({type(others[0]).__name__}) was put on top of the refocused kernel"
        remedy = f"take it off first, del {path}[1:], and register it again afterwards"
        raise LayerError(what, where=transform.layer, remedy=remedy)


def base_of(module: nn.Module) -> Tensor:
    """Return the frozen base of a transformed module."""
    base: Tensor = _list(module).original
    return base


def parameter_order(module: nn.Module) -> list[str]:
    """Return the names of the module's own parameters in the order they had before it was transformed."""
    order: list[str] = _list(module).parameter_order
    return order


def _list(module: nn.Module) -> Any:
    return module._modules["parametrizations"][_TENSOR]  # type: ignore[index]  # a ModuleDict of ParametrizationLists


def _accept_plain_checkpoint(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let a plain checkpoint load strictly: its kernel becomes the base, and the transformation starts anew."""
    transform = transform_of(module)
    if transform is None or prefix + _TENSOR not in state or prefix + STEM + "original" in state:
        return
    base = state[prefix + STEM + "original"] = state.pop(prefix + _TENSOR)
    own = base_of(module)
    if base.shape == own.shape:  # if not, torch says so itself, with the name of the key
        with torch.no_grad():
            transform.reset(base.to(device=own.device, dtype=own.dtype))
        state.update((f"{prefix}{STEM}0.{name}", value) for name, value in transform.state_dict().items())


def settings_of(transform: KernelTransform) -> dict[str, Any]:
    """Return what beside the tensors of a state determines the kernel, as plain values: transformation, settings."""
    settings = {"transform": transform.config.method, **transform.settings()}
    return {key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}


def _say_settings(transform: KernelTransform, state: Any, prefix: str, local_metadata: dict[str, Any]) -> None:
    """Write the settings into the state dict's metadata: a file of it then says how its kernels are computed."""
    local_metadata[SETTINGS] = settings_of(transform)


def _check_settings(transform: KernelTransform, state: Any, prefix: str, metadata: dict[str, Any], *rest: Any) -> None:
    """Refuse a state that was trained with other settings: its weights would make other kernels here."""
    found, own = metadata.get(SETTINGS), settings_of(transform)
    if found is not None and found != own:
        names = sorted(key for key in {*found, *own} if found.get(key) != own.get(key))
        differing = ", ".join(f"{name} {found.get(name)!r} instead of {own.get(name)!r}" for name in names)
        rest[-1].append(f"{transform.layer}: trained with other settings: {differing}")  # the list of errors


def refocus(model: nn.Module, config: RefocusConfig | None = None, **settings: Unpack[RefocusSettings]) -> Plan:
    """Freeze a model's convolution kernels as bases and put a trainable refocusing transformation on each.

    In place, and all or nothing. With the default start the model computes bit for bit what it did before. Call
    it after loading weights and moving to the device, before compiling, wrapping with DDP or making the optimizer.
    Only tensors change: modules, forwards and hyperparameters stay. Kernels that are frozen (``requires_grad`` False)
    are left alone, as in gradient space. Afterwards bases cannot be trained, and writing to a kernel is an error.
    Returns the plan that was carried out.

    Args:
        model: any module with convolutions.
        config: all settings.
        **settings: single settings in place of ``config``: the fields of :class:`refconv.RefocusConfig`.

    Raises:
        SettingError: if a setting is unknown or out of its range, or a pattern matches nothing.
        LayerError: if a kernel is refocused already, lazy, without values, not finite, all zero, or shared with one
            that is not chosen. The model is untouched then.
        ModelError: if the model is wrapped, or nothing in it can be refocused.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
        >>> refocus(model, include="depthwise").extra_parameters
        576
    """
    return reparametrize(model, RefocusConfig.of(config, settings))


def reparametrize(model: nn.Module, config: TransformConfig | str, **settings: Any) -> Plan:
    """Freeze a model's convolution kernels as bases and put a trainable transformation on each.

    :func:`refconv.refocus` is the case ``"refocus"`` of this and says what all of them share. Merging, verifying,
    saving and dropping work the same for all. Returns the plan that was carried out.

    Args:
        model: any module with convolutions.
        config: the transformation and its settings, such as ``LowRankConfig(rank=4)``, or its name alone, one of
            :data:`refconv.parametrizations.TRANSFORMS`.
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
    verb = "refocus" if complete.method == "refocus" else "reparametrize"
    check_plain(model, verb)
    choices = select_trained(find_layers(model), complete.include, complete.exclude)
    chosen = admitted(model, choices, [kind.__name__ for kind in TRANSFORMS.values()])
    for layer in chosen:
        check_unsharded(layer)
    done = describe(model, choices, complete)
    attach_all(model, transforms_at(chosen, lambda layer, scope: transform_at(layer, complete, scope)))
    return done


def transform_at(layer: Layer, config: TransformConfig, scope: ForwardScope) -> KernelTransform:
    """Return a new transformation for a layer, not yet attached."""
    assert layer.weight is not None
    return TRANSFORMS[config.method](layer.label, layer.weight, layout_at(layer, config), scope, config)


def transforms_at(layers: Iterable[Layer], make: Callable[[Layer, ForwardScope], KernelTransform]) -> Transforms:
    """Make a transformation for every kernel, not yet attached; all share a forward scope."""
    scope = ForwardScope()
    found: dict[int, tuple[list[Layer], KernelTransform]] = {}
    for layer in layers:
        if id(layer.weight) not in found:
            found[id(layer.weight)] = [], make(layer, scope)
        found[id(layer.weight)][0].append(layer)
    return list(found.values())


def attach_all(model: nn.Module, transforms: Transforms) -> None:
    """Put transformations on the kernels that they were made for, and their scope on the model."""
    for sharers, transform in transforms:
        attach([layer.module for layer in sharers], transform)
    transforms[0][1].scope.attach(model)


@torch.no_grad()
def rebase(model: nn.Module) -> list[nn.Parameter]:
    """Make every refocused kernel its own base and let its transformation start anew, in place.

    The model computes what it did before, and its parameters stay the ones that an optimizer knows. What the optimizer
    remembers of them belongs to the former bases and is to be dropped. Returns the parameters that started anew.
    """
    found = list(transformed(model))
    kernels = {id(transform): kernel_of(module) for _, module, transform in found}
    fresh: dict[int, nn.Parameter] = {}
    for _, module, transform in found:
        base = base_of(module)
        base.copy_(kernels[id(transform)])
        transform.follow(base)
        transform.reset(base)
        fresh.update((id(parameter), parameter) for parameter in transform.parameters())
    return list(fresh.values())


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
