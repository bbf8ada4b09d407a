"""The two tensors of a refocused layer that training programs meet: the base and the computed kernel.

Programs that know nothing of parametrizations unfreeze every parameter, or write to kernels. Here that is either
without effect by construction (the base cannot be trained) or refused where it happens (the kernel).
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
from torch import Tensor, nn

from refconv.errors import LayerError


class Base(nn.Parameter):
    """A frozen base: a parameter that never requires gradients, whatever is asked of it.

    Trainers that set ``requires_grad`` on everything leave it as it is, so no optimizer, no weight decay and no
    bucket of DDP counts on its gradient. Writes to ``.data`` count in its version as other writes do, so whoever
    keeps what follows from a base can tell that it has changed.

    Modules keep the parameter that they had: only its class changes, there (:meth:`freeze`) and back
    (:meth:`release`). Parameters of somebody else's class stay as they are.
    """

    @staticmethod
    def freeze(parameter: nn.Parameter) -> None:
        """Make a parameter a base."""
        parameter.requires_grad_(False)
        if type(parameter) is nn.Parameter and not parameter.is_inference():
            parameter.__class__ = Base

    @staticmethod
    def release(parameter: nn.Parameter, requires_grad: bool) -> None:
        """Make a base an ordinary parameter again, with the gradient flag that it had before."""
        if type(parameter) is Base:
            cast("nn.Parameter", parameter).__class__ = nn.Parameter
        parameter.requires_grad_(requires_grad)

    @property
    def requires_grad(self) -> bool:
        """Always False; setting it has no effect."""
        return False

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None: ...

    def requires_grad_(self, requires_grad: bool = True) -> Base:
        """Stay frozen."""
        return self

    @property
    def data(self) -> Tensor:
        """The values, sharing the version counter, which torch's own ``data`` does not."""
        return self.detach()

    @data.setter
    def data(self, value: Tensor) -> None:
        nn.Parameter.data.__set__(self, value)  # type: ignore[attr-defined]  # a descriptor of torch's class


class Kernel(Tensor):
    """A computed kernel as ``module.weight`` returns it: an ordinary tensor, except that it cannot be written to.

    A write would be lost, since the kernel is computed anew at each reading. Operations on it return ordinary tensors;
    methods that work in place, and assignments to its ``data``, raise a LayerError. Not noticed are writes through a
    view or through ``detach()`` of it, and what compiled code does, where kernels are ordinary tensors.
    """

    __torch_function__: Any = torch._C._disabled_torch_function_impl
    layer: str

    @classmethod
    def of(cls, tensor: Tensor, layer: str) -> Kernel:
        """Return a tensor as the kernel of a layer; gradients flow through."""
        kernel: Kernel = tensor.as_subclass(cls)
        kernel.layer = layer
        return kernel

    @property
    def data(self) -> Tensor:
        """The values without gradients, as unwritable as the kernel."""
        return Kernel.of(self.detach(), self.layer)

    @data.setter
    def data(self, value: Tensor) -> None:
        _refuse(self)

    def __deepcopy__(self, memo: dict[int, Any]) -> Tensor:
        return copy.deepcopy(self.as_subclass(Tensor), memo)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.as_subclass(Tensor).__reduce_ex__(protocol)


def _refuse(kernel: Kernel, *args: object, **kwargs: object) -> None:
    """Refuse to be written to."""
    raise LayerError(
        "the kernel is computed from its base and cannot be written to",
        where=kernel.layer,
        remedy="merge(model) or unrefocus(model) before writing; if the network itself writes its kernel (masks, "
        f"constraints, generated kernels), exclude={kernel.layer!r}",
    )


_HARMLESS = {"requires_grad_", "rename_"}
_OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift", "div"]
for _name in dir(Tensor):
    _in_place = _name.endswith("_") and not _name.startswith("_") and _name not in _HARMLESS
    if _in_place or _name == "__setitem__" or (_name.startswith("__i") and _name[3:-2] in _OPERATORS):
        setattr(Kernel, _name, _refuse)
