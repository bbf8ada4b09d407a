"""What every kernel transformation shares: one layer, full precision inside, one computation per forward.

And the two tensors that programs meet: the base, which cannot be trained, and the kernel, which cannot be written to.
"""

from __future__ import annotations

import copy
import dataclasses
import sys
import threading
from abc import abstractmethod
from math import prod
from types import FrameType
from typing import TYPE_CHECKING, Any, ClassVar, cast

import torch
from torch import Tensor, nn
from torch.utils import checkpoint

from refconv.config import GramConfig, TransformConfig
from refconv.errors import LayerError, ModelError
from refconv.layers import masked
from refconv.ops import Layout


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

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Base, (self.detach(), False)

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
    own = f"if the network itself writes its kernel (masks, constraints, generated kernels), exclude={kernel.layer!r}"
    remedy = f"merge(model) or unrefocus(model) before writing; {own}"
    raise LayerError("the kernel is computed from its base and cannot be written to", where=kernel.layer, remedy=remedy)


_HARMLESS = {"requires_grad_", "rename_"}
_OPERATORS = ["add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and", "or", "xor", "lshift", "rshift", "div"]
for _name in dir(Tensor):
    _in_place = _name.endswith("_") and not _name.startswith("_") and _name not in _HARMLESS
    if _in_place or _name == "__setitem__" or (_name.startswith("__i") and _name[3:-2] in _OPERATORS):
        setattr(Kernel, _name, _refuse)


class ForwardScope:
    """Holds the kernels of one forward pass, so that a module that runs several times computes its own once.

    Copies of a model get an empty scope of their own, because ``deepcopy`` copies the object that hooks are bound to.
    Inside a region of activation checkpointing nothing is handed out, since the region will be run again on its own.

    Note [Interrupts]: torch does not run forward hooks when a forward is left by a KeyboardInterrupt. So a kept kernel
    is handed out only while the call that opened the scope is found on the stack, which costs microseconds.
    """

    kernels: dict[Any, Tensor] | None = None
    frame: FrameType | None = None
    thread: int = 0
    told: dict[str, Any]  #: What transformations of the model let one another know, by layer; copies know it too

    def __init__(self) -> None:
        self.told = {}

    def open(self, module: nn.Module, args: Any) -> None:
        """Forward pre-hook of the model."""
        if not torch.compiler.is_compiling():
            self.kernels, self.frame, self.thread = {}, sys._getframe(1), threading.get_ident()

    def close(self, module: nn.Module, args: Any, output: Any) -> None:
        """Forward hook of the model; runs also when the forward failed."""
        if not torch.compiler.is_compiling():
            self.kernels = self.frame = None

    def find(self, key: Any) -> Tensor | None:
        """Return the kernel that was kept under a key in the forward pass that is running now, if there is one."""
        if self.kernels is None or key not in self.kernels:
            return None
        frame: FrameType | None = sys._getframe()
        checkpointed = False
        while frame is not None and frame is not self.frame:
            checkpointed = checkpointed or frame.f_code.co_filename == checkpoint.__file__
            frame = frame.f_back
        if frame is None:
            if self.thread == threading.get_ident():
                self.kernels = self.frame = None
            return None
        return None if checkpointed else self.kernels[key]

    def __getstate__(self) -> dict[str, Any]:
        return {"told": dict(self.told)}  # copies begin outside of any forward pass

    def attach(self, model: nn.Module) -> None:
        """Let a model's forward passes open and close this scope."""
        model.register_forward_pre_hook(self.open)
        model.register_forward_hook(self.close, always_call=True)

    @staticmethod
    def detach(model: nn.Module) -> None:
        """Remove the hooks of every scope from a model and its modules."""
        for module in model.modules():
            for hooks in (module._forward_pre_hooks, module._forward_hooks):
                for key, hook in list(hooks.items()):
                    if isinstance(getattr(hook, "__self__", None), ForwardScope):
                        del hooks[key]
                        module._forward_hooks_always_called.pop(key, None)


class KernelTransform(nn.Module):
    """A trainable map from a frozen base to the kernel that its convolution uses, as a parametrization of torch.

    The frozen base stays in the module as ``parametrizations.weight.original``, and reading ``module.weight`` gives the
    kernel. Subclasses say how the kernel follows from the base (:meth:`transform`), which numbers are trained
    (:meth:`shapes`), how they start (:meth:`reset`) and what may be computed ahead (:meth:`prepare`).

    Args:
        layer: the layer's name, for messages.
        base: the pretrained kernel, in its stored shape.
        layout: how its slices form blocks.
        scope: the forward scope of the model.
        config: the settings.

    Raises:
        SettingError: if a setting does not fit the layer.

    Shapes: ``forward`` maps the stored weight to one of the same shape, dtype and memory format. Inside it computes
    in at least float32, whatever autocast or the base's dtype say, and casts once at the end.
    """

    refocuses: ClassVar[bool] = True  #: By which layers tell transformations of this package from others
    config_class: ClassVar[type[TransformConfig]]  #: What says the settings, and their defaults
    exact_start: ClassVar[bool] = True  #: Whether, by default, the kernel is the base bit for bit before training
    size: ClassVar[str | None] = None  #: The setting that says how many numbers are trained, if there is one
    computed: ClassVar[tuple[str, ...]] = ()  #: The tensors that :meth:`prepare` computes; they are not saved
    config: TransformConfig
    map_size: tuple[int, ...]
    given: Tensor | None  #: The mask that a user gave, in the shape of the base

    def __init_subclass__(cls, settings: type[TransformConfig] | None = None) -> None:
        if settings is not None:
            cls.config_class = settings

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> nn.Parameter:
            """Return a trained parameter by its name in :meth:`shapes`."""

    def __init__(self, layer: str, base: Tensor, layout: Layout, scope: ForwardScope, config: TransformConfig) -> None:
        super().__init__()
        if isinstance(config, GramConfig):
            self.map_size = layout.map_size(config.map_size)
            config = dataclasses.replace(config, map_size=self.map_size, order=layout.order)
        self.config, self.layer, self.layout, self.scope = config, layer, layout, scope
        self.base_requires_grad = base.requires_grad
        self.followed: tuple[int, torch.dtype] | None = None
        self.sealed = False
        self.register_buffer("mask", None, persistent=False)
        self.register_buffer("given", None, persistent=False)
        for name, shape in self.shapes(layout, config).items():
            start = torch.zeros(shape, dtype=computing_dtype(base), device=base.device)
            self.register_parameter(name, nn.Parameter(start))
        for name in self.computed:
            self.register_buffer(name, None, persistent=False)
        with torch.no_grad():
            self.reset(base)
            self._prepare(base)

    @classmethod
    @abstractmethod
    def shapes(cls, layout: Layout, config: Any) -> dict[str, tuple[int, ...]]:
        """Name the trained parameters at a layer and give their shapes, for settings of :attr:`config_class`."""

    @classmethod
    def count(cls, layout: Layout, config: TransformConfig) -> int:
        """Return how many numbers are trained at a layer."""
        return sum(prod(shape) for shape in cls.shapes(layout, config).values())

    @classmethod
    def sized(cls, step: int) -> int:
        """Return the value of :attr:`size` at a step 1, 2, ... of growing size."""
        return step

    def _prepare(self, base: Tensor) -> None:
        """Compute all that depends on the frozen base only: which of its entries are kept at zero, too."""
        if self.config.zeros == "keep":
            self.mask = self.layout.to_blocks(base.detach()) != 0
        self.prepare(base)

    def prepare(self, base: Tensor) -> None:
        """Compute what depends on the frozen base only, under ``no_grad``; called again for every other base."""

    @abstractmethod
    def transform(self, blocks: Tensor) -> Tensor:
        """Map the base's blocks [b, m, k] to the kernel's blocks [b, m, k], both in at least float32."""

    def reset(self, base: Tensor) -> None:
        """Give the trained parameters their start for a base, by default zero; called under ``no_grad``."""
        for parameter in self.parameters():
            parameter.zero_()

    def settings(self) -> dict[str, Any]:
        """Return what, beside the base and the trained parameters, determines the kernel; plain values."""
        return self.config.settings()

    def extra_repr(self) -> str:
        """Return blocks and settings for printing."""
        b, m, k = self.layout.block_shape
        return ", ".join([f"blocks={b}, slices={m}, taps={k}", *(f"{n}={v}" for n, v in self.settings().items())])

    def forward(self, base: Tensor) -> Tensor:
        """Return the kernel for a base, in the base's shape, dtype and memory format."""
        if torch.compiler.is_compiling():
            if torch.compiler.is_exporting():
                raise _unmerged(self)
            return self.kernel(base)
        if torch.jit.is_tracing():  # type: ignore[attr-defined]  # documented, and not listed
            raise _unmerged(self)
        key = (id(self), torch.is_grad_enabled(), torch.is_inference_mode_enabled())
        kernel = self.scope.find(key)
        if kernel is None:
            self.catch_up(base)
            kernel = Kernel.of(self.kernel(base), self.layer)
            if self.scope.kernels is not None:  # a forward pass is running
                self.scope.kernels[key] = kernel
        return kernel

    def follow(self, base: Tensor) -> None:
        """Prepare for a base, outside of any graph; of a sharded one all processes must, as they do when they load."""
        whole = cast("Any", base).full_tensor() if hasattr(base, "full_tensor") else base
        with torch.inference_mode(False), torch.no_grad():
            self._apply_given(base, whole)
            self._prepare(whole)
        self.remember(base)

    def _apply_given(self, base: Tensor, whole: Tensor) -> None:
        """Apply the mask that a user gave to a base that was loaded or cast."""
        if self.given is None:
            return
        if whole is base:
            base.copy_(masked(base, self.given))
        elif bool((whole[~self.given] != 0).any()):
            what, remedy = "the weights that were loaded are not zero outside of the mask", "load them before sharding"
            raise LayerError(what, where=self.layer, remedy=remedy)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "followed": None}  # the bases of copies count their own writes

    def remember(self, base: Tensor) -> None:
        """Remember the state of the base that this is prepared for."""
        self.followed = _state(base)

    def catch_up(self, base: Tensor) -> None:
        """Prepare again for a base that was written to, or cast, since it was prepared for.

        Tensors that stand in for a base, as under ``functional_call`` or as FSDP gathers them, are passed over.
        """
        if type(base) is Base and _state(base) != self.followed:
            self.follow(base)

    def kernel(self, base: Tensor) -> Tensor:
        """Compute the kernel for a base, whatever was computed before; the base gets no gradient."""
        base = base.detach()
        with torch.autocast(base.device.type, enabled=False):
            blocks = self.layout.to_blocks(base).to(computing_dtype(base))
            moved = self.transform(blocks)
            if self.mask is not None:
                moved = torch.where(self.mask, moved, 0)
            kernel = self.layout.from_blocks(moved).to(base.dtype)
        return kernel.contiguous(memory_format=memory_format(base))

    def __prepare_scriptable__(self) -> Any:
        """Refuse what torch.jit.script would do."""
        raise _unmerged(self)

    def right_inverse(self, value: Tensor) -> Tensor:
        """Refuse assignments to the kernel, which could not reach the trained weights."""
        if self.sealed:
            remedy = "merge(model) or unrefocus(model) first, then assign, then refocus again"
            what = "the kernel is computed from its base and cannot be assigned"
            raise LayerError(what, where=self.layer, remedy=remedy)
        return value


def _unmerged(transform: KernelTransform) -> ModelError:
    """Return the error of torch's exporters and tracers, whose files would compute the kernels anew in each run."""
    what = "the model is refocused, and an exported file would compute its kernels in each run"
    remedy = "merge(model) first, or export refconv.merged(model)"
    return ModelError(what, where=transform.layer, expected="a merged model", remedy=remedy)


def _state(base: Tensor) -> tuple[int, torch.dtype] | None:
    """What changes when a base is written to or cast; None for tensors whose writes are not counted."""
    return (base._version, base.dtype) if type(base) is Base else None


def computing_dtype(base: Tensor) -> torch.dtype:
    """Return the dtype that a base's kernel is computed in: its own, of its parts if complex, but at least float32."""
    return torch.promote_types(base.real.dtype if base.is_complex() else base.dtype, torch.float32)


def memory_format(base: Tensor) -> torch.memory_format:
    """Return the memory format that a kernel computed from a base is to have: the base's."""
    if not base.is_contiguous() and base.dim() in (4, 5):
        last = torch.channels_last if base.dim() == 4 else torch.channels_last_3d
        return last if base.is_contiguous(memory_format=last) else torch.contiguous_format
    return torch.contiguous_format
