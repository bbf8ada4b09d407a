"""Putting a transformation on a module's kernel and taking it off again, leaving everything else as it was.

Note [Taking off]: torch's ``remove_parametrizations`` deletes the property from the module's dynamically made class,
which copies of the module share, so merging an EMA copy would break the model in training. Here the class is never
edited: the one module that is taken off gets its former class back.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from refconv.errors import LayerError, ModelError
from refconv.parametrizations import Base, KernelTransform

_TENSOR = "weight"
STEM = f"parametrizations.{_TENSOR}."
SETTINGS = "refconv"  #: Under which name a transformation's settings stand in the metadata of a state dict


def attach(modules: list[nn.Module], transform: KernelTransform) -> None:
    """Put a transformation on the kernel of a module, or of several that share one.

    The base stays where it was, as the parametrization's ``original``, and cannot be trained any more. From then on
    plain checkpoints load strictly, and loading any checkpoint prepares the transformation for the base it brought.
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
    first = lists[_TENSOR][0] if isinstance(lists, nn.ModuleDict) and _TENSOR in lists else None  # type: ignore[index]
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
    return _list(module).original  # type: ignore[no-any-return]


def parameter_order(module: nn.Module) -> list[str]:
    """Return the names of the module's own parameters in the order they had before it was transformed."""
    return _list(module).parameter_order  # type: ignore[no-any-return]


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
