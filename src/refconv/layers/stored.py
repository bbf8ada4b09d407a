"""The tensor that a module stores for its kernel, and what computes the kernel from it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

KERNEL = "weight"
NO_KERNEL = ("_Orthogonal",)  # what they compute a kernel from has its shape and is none

# What torch's hooks of before its parametrizations store; spectral_norm calls a buffer weight_v as well.
_HOOKED = (f"{KERNEL}_v", f"{KERNEL}_orig")


@dataclass(frozen=True, eq=False)
class Stored:
    """A stored tensor of a module, found from its kernel."""

    tensor: str  #: its name inside the plain module, such as ``weight`` or ``parametrizations.weight.original1``
    value: Tensor | None  #: None if the module stores no tensor of the kernel's shape
    through: tuple[str, ...] = ()  #: classes of what computes the kernel from it, in order
    refocused: bool = False  #: whether the first of them is a transformation of this package


def stored_kernel(module: nn.Module, shape: Sequence[int]) -> Stored:
    """Find the tensor from which a module's kernel of this shape is computed, or which is the kernel itself."""
    if KERNEL in module._parameters or KERNEL in lists_of(module):
        return _stored(module, KERNEL, shape, ())
    for hook in module._forward_pre_hooks.values():  # weight_norm and spectral_norm say name, pruning _tensor_name
        if KERNEL in (getattr(hook, "name", None), getattr(hook, "_tensor_name", None)):
            for name in _HOOKED:
                if name in module._parameters or name in lists_of(module):
                    return _stored(module, name, shape, (type(hook).__name__,))
    return Stored(KERNEL, None)


def lists_of(module: nn.Module) -> nn.ModuleDict | dict[str, nn.Module]:
    """Return a module's lists of parametrizations by the name of their tensor."""
    lists = module._modules.get("parametrizations")
    return lists if isinstance(lists, nn.ModuleDict) else {}


def _stored(module: nn.Module, name: str, shape: Sequence[int], hooks: tuple[str, ...]) -> Stored:
    if name in module._parameters:
        return Stored(name, module._parameters[name], hooks)
    chain = lists_of(module)[name]
    steps = [step for child in chain.children() for step in getattr(child, "steps", (child,))]
    classes = (*(type(step).__name__ for step in steps), *hooks)
    refocused = bool(steps) and getattr(steps[0], "refocuses", False)
    tensors = {key: value for key, value in chain._parameters.items() if value is not None}
    if len(tensors) > 1:
        tensors = {key: value for key, value in tensors.items() if tuple(value.shape) == tuple(shape)}
    if len(tensors) != 1 or set(classes) & set(NO_KERNEL):
        return Stored(name, None, classes, refocused)
    ((key, value),) = tensors.items()
    alone = refocused and len(steps) == 1
    return Stored(name if alone else f"parametrizations.{name}.{key}", value, classes, refocused)


def shown(name: str) -> str:
    """Return the name of a tensor in a model as people know it, without what torch's parametrizations add."""
    return re.sub(r"parametrizations\.(\w+)\.original\d*$", r"\1", name)
