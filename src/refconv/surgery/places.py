"""Where a transformation is in a model: putting it on a stored kernel and taking it off again.

A module stores its kernel as its weight, or stores a tensor from which parametrizations or hooks of torch compute the
kernel (weight_norm, spectral_norm, pruning, a mask, a binarisation). What is transformed is always the stored tensor
V, and all else acts on the result, whichever was registered first (docs/together.md):

    kernel = f(V),    V = base + R P(base)

Note [Taking off]: torch's ``remove_parametrizations`` deletes the property from the module's dynamically made class,
which copies of the module share, so merging an EMA copy would break the model in training. Here the class is never
edited: the one module that is taken off gets its former class back.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial, partialmethod
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from refconv.errors import LayerError
from refconv.layers import Layer, dotted, lists_of, masked
from refconv.layers.stored import KERNEL
from refconv.parametrizations import Base, Kernel, KernelTransform
from refconv.surgery.guards import OwnParameters, cannot_be_taken_out, check_hook

SETTINGS = "refconv"  #: Under which name a transformation's settings stand in the metadata of a state dict
_LISTS = "parametrizations"
_HOOKING = ("register_forward_pre_hook", "register_forward_hook")


class Beneath(nn.ModuleList):
    """A transformation before a parametrization that computes the kernel from several tensors, as weight_norm does."""

    def __init__(self, transform: KernelTransform, other: nn.Module, position: int) -> None:
        super().__init__([transform, other])
        self.position = position

    @property
    def steps(self) -> tuple[nn.Module, ...]:
        """What computes the kernel, in order."""
        return tuple(self)

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return what the other one makes of the tensors, with the transformed one in its place."""
        own = list(tensors)
        own[self.position] = self[0](own[self.position])
        kernel: Tensor = self[1](*own)
        return kernel

    def right_inverse(self, value: Tensor) -> Tensor:
        """Refuse assignments as the transformation does."""
        transform: Any = self[0]
        kernel: Tensor = transform.right_inverse(value)
        return kernel


class _First(parametrize.ParametrizationList):
    """The list of a transformed tensor, which says in time what cannot stand on top of the transformation."""

    def _get_name(self) -> str:
        return parametrize.ParametrizationList.__name__

    def forward(self) -> Tensor:
        """Return the kernel, as one that cannot be written to whatever stands on top of the transformation."""
        kernel = super().forward()
        if torch.compiler.is_compiling() or isinstance(kernel, Kernel):
            return kernel
        return Kernel.of(kernel, self.layer)

    @property
    def is_tensor(self) -> bool:  # type: ignore[override]  # an attribute of torch's class, set once
        """Whether one tensor is stored; ``remove_parametrizations`` asks for it before it changes anything."""
        if (
            not torch.compiler.is_compiling()
            and sys._getframe(1).f_code is parametrize.remove_parametrizations.__code__
        ):
            raise cannot_be_taken_out(self.layer)
        return bool(self.__dict__["is_tensor"])

    @property
    def layer(self) -> str:
        """The layer's name, for messages."""
        first: Any = next(iter(self.children()))
        return str(first[0].layer if isinstance(first, Beneath) else first.layer)

    def append(self, module: nn.Module) -> _First:
        """Refuse a parametrization that cannot compute a kernel from the refocused one, as torch does not ask."""
        mode = module.training
        try:
            with torch.no_grad():
                module.eval()(self().detach())
        except Exception as error:
            kind = type(module).__name__
            what = f"{kind} cannot compute a kernel from a refocused one ({error})"
            remedy = f"register it before refocusing: refconv.unrefocus(model), {kind}, refconv.refocus(model)"
            raise LayerError(what, where=self.layer, remedy=remedy) from error
        finally:
            module.train(mode)
        super().append(module)
        return self


@dataclass(frozen=True)
class Names:
    """The names of the tensors of a transformed layer in the state dict of its model, and of the plain model."""

    stem: str  #: how all names begin that may change, those of the parametrizations of the tensor
    base: str
    own: str  #: how the names of what is trained begin
    key: str  #: the stored kernel in the plain model

    @staticmethod
    def of(name: str, tensor: str) -> Names:
        """Return those of a module by its name and that of its stored kernel in the plain model."""
        key, (*_, last) = f"{dotted(name)}{tensor}", tensor.split(".")
        if tensor == last:
            stem = f"{dotted(name)}{_LISTS}.{tensor}."
            return Names(stem, f"{stem}original", f"{stem}0.", key)
        stem = key.removesuffix(last)
        return Names(stem, key, f"{stem}0." if last == "original" else f"{stem}0.0.", key)

    def plain(self, key: str) -> str | None:
        """Return the name that a tensor or module has in the plain model; None if it has none."""
        if not key.startswith(self.stem):
            return key
        if key == self.base:
            return self.key
        if key.startswith(self.own) or f"{key}." == self.own:
            return None
        below = self.own.removesuffix("0.")
        if below != self.stem:
            other = f"{below}1"
            return f"{below.removesuffix('.')}{key.removeprefix(other)}" if key.startswith(other) else key
        number, dot, rest = key.removeprefix(self.stem).partition(".")
        return f"{self.stem}{int(number) - 1}{dot}{rest}" if number.isdecimal() else key


@dataclass(frozen=True, eq=False)
class Place:
    """A stored tensor of a module with the transformation on it."""

    name: str  #: of the module
    module: nn.Module
    tensor: str  #: that is parametrized: ``weight``, or what an older hook of torch reads
    transform: KernelTransform

    @property
    def steps(self) -> Any:
        """The list of parametrizations of the tensor."""
        return lists_of(self.module)[self.tensor]

    @property
    def below(self) -> Beneath | None:
        """What holds the transformation and one that computes the kernel from several tensors, if there is one."""
        first = self.steps[0]
        return first if isinstance(first, Beneath) else None

    @property
    def alone(self) -> bool:
        """Whether nothing else is registered on the tensor, so that it is an ordinary parameter once merged."""
        return len(self.steps) == 1 and self.below is None

    @property
    def base(self) -> Tensor:
        """The frozen base."""
        base: Tensor = self.steps._parameters[self._original]
        return base

    @property
    def order(self) -> list[str]:
        """Names of the module's own parameters in the order they had before it was transformed."""
        order: list[str] = self.steps.parameter_order
        return order

    @property
    def _original(self) -> str:
        return "original" if self.below is None else f"original{self.below.position}"

    @property
    def names(self) -> Names:
        """The names of its tensors in state dicts."""
        return Names.of(self.name, self.tensor if self.alone else f"{_LISTS}.{self.tensor}.{self._original}")

    def kernel(self) -> Tensor:
        """Return the stored kernel as it is now, detached and in a tensor of its own."""
        self.transform.catch_up(self.base)
        with torch.no_grad():
            kernel: Tensor = self.transform.kernel(self.base)
        return kernel.clone(memory_format=torch.preserve_format)


def places(model: nn.Module, aliases: bool = False) -> Iterator[Place]:
    """Yield every place of a transformation in a model, with ``aliases`` under all names of its module."""
    for name, module in model.named_modules(remove_duplicate=not aliases):
        if (place := place_at(module, name)) is not None:
            yield place


def place_at(module: nn.Module, name: str = "") -> Place | None:
    """Return the place of the transformation on a module's kernel, if there is one."""
    for tensor, steps in lists_of(module).items():
        first = steps[0]  # type: ignore[index]  # a ParametrizationList
        transform = first[0] if isinstance(first, Beneath) else first
        if isinstance(transform, KernelTransform):
            return Place(name, module, tensor, transform)
    return None


def transform_of(module: nn.Module) -> KernelTransform | None:
    """Return the transformation on a module's kernel, if there is one."""
    place = place_at(module)
    return None if place is None else place.transform


def transformed(model: nn.Module) -> Iterator[tuple[str, nn.Module, KernelTransform]]:
    """Yield (name, module, transformation) for every transformed layer."""
    for place in places(model):
        yield place.name, place.module, place.transform


def attach(layers: list[Layer], transform: KernelTransform) -> None:
    """Put a transformation on a stored kernel, of a layer or of several that share it.

    Plain checkpoints still load strictly, and loading any prepares the transformation for the base it brought.
    """
    for layer in layers:
        module = layer.module
        names = list(module._parameters)
        _insert(layer, transform)
        _complete(type(module))
        place = place_at(module)
        assert place is not None
        Base.freeze(place.base)  # type: ignore[arg-type]  # a parameter
        place.steps.parameter_order = names
        module.__dict__["_parameters"] = OwnParameters(module._parameters, place.tensor, transform.layer)
        place.steps.register_load_state_dict_post_hook(_prepare_for_loaded)
        module.register_load_state_dict_pre_hook(_accept_plain_checkpoint)
        transform.remember(place.base)
    transform.register_state_dict_post_hook(_say_settings)
    transform.register_load_state_dict_pre_hook(_check_settings)
    transform.sealed = True


def _insert(layer: Layer, transform: KernelTransform) -> None:
    """Let a transformation be the first that computes a kernel from what its module stores."""
    path = layer.tensor.split(".")
    transform.train(layer.module.training)
    if len(path) == 1:
        parametrize.register_parametrization(layer.module, layer.tensor, transform, unsafe=True)
        steps: Any = lists_of(layer.module)[layer.tensor]
    else:
        steps = lists_of(layer.module)[path[1]]
        if steps.is_tensor:
            steps.insert(0, transform)
        else:
            steps[0] = Beneath(transform, steps[0], int(path[2].removeprefix("original")))
    steps.__class__ = _First


def detach(place: Place, kernel: Tensor | None) -> None:
    """Take the transformation off a module, whose stored kernel becomes this one; None leaves the base."""
    module, steps, weight = place.module, place.steps, place.base
    if kernel is not None:
        with torch.no_grad():
            weight.copy_(kernel)
    Base.release(weight, place.transform.base_requires_grad)  # type: ignore[arg-type]  # a parameter
    module.__dict__["_parameters"] = dict(module._parameters)
    for hooks in (module._load_state_dict_pre_hooks, steps._load_state_dict_post_hooks):
        for number, hook in list(hooks.items()):
            if getattr(hook, "hook", hook) in (_accept_plain_checkpoint, _prepare_for_loaded):
                del hooks[number]
    if not place.alone:
        below = place.below
        del steps.parameter_order
        steps.__class__ = parametrize.ParametrizationList
        if below is None:
            del steps[0]
        else:
            steps[0] = below[1]
        return
    former, lists = type(module), module._modules[_LISTS]
    assert isinstance(lists, nn.ModuleDict)
    del lists[place.tensor]
    plain = former.__bases__[0]
    if len(lists) == 0:
        del module._modules[_LISTS]
        module.__class__ = plain
    else:  # another tensor of this module is parametrized too: keep its property, in a class of this module's own
        kept = {
            key: value for key, value in vars(former).items() if key not in (place.tensor, "__dict__", "__weakref__")
        }
        module.__class__ = type(former.__name__, (plain,), kept)
    own = {**module._parameters, place.tensor: weight}
    former_order = [name for name in steps.parameter_order if name in own]
    module._parameters.clear()
    module._parameters.update({name: own[name] for name in (*former_order, *own)})


def _complete(parametrized: type[nn.Module]) -> None:
    """Let the dynamically made class of a module be pickled, and say what helps where a kernel is to be replaced."""
    if "refuses" in vars(parametrized):
        return
    of_torch: Any = parametrized.__getstate__
    register: Any = parametrized.register_parameter
    delete: Any = parametrized.__delattr__
    hooking: dict[str, Any] = {name: getattr(parametrized, name) for name in _HOOKING}

    def reduce(self: nn.Module, protocol: Any) -> Any:
        if place_at(self) is None:
            return of_torch(self)  # torch's own refusal
        plain: Any = parametrized.__bases__[0]
        state = plain.__getstate__(self) if hasattr(plain, "__getstate__") else self.__dict__  # Python 3.10 has none
        return _unpickled, (plain, list(lists_of(self))), state

    def refuse_deletion(self: nn.Module, name: str) -> None:
        place = place_at(self)
        if place is not None and name in {KERNEL, place.tensor}:
            raise cannot_be_taken_out(place.transform.layer)
        delete(self, name)

    def refuse_hooks(name: str, self: nn.Module, hook: Any, *args: Any, **kwargs: Any) -> Any:
        place = place_at(self)
        if place is not None:
            check_hook(hook, place.transform.layer)
        return hooking[name](self, hook, *args, **kwargs)

    def refuse_kernels(self: nn.Module, name: str, parameter: Any) -> None:
        place = place_at(self)
        if place is not None and name == place.tensor:  # as pruning and fusing tools assign a new parameter
            what, remedy = "the kernel is computed from its base and cannot be replaced", "merge(model) first"
            raise LayerError(what, where=place.transform.layer, remedy=remedy)
        if isinstance(parameter, Kernel):
            what = "the kernel is computed from its base and cannot become a parameter, as in torch.nn.utils.prune"
            remedy = "prune first and refocus then, which keeps the mask; or merge(model) first"
            raise LayerError(what, where=parameter.layer, remedy=remedy)
        register(self, name, parameter)

    parametrized.refuses = True  # type: ignore[attr-defined]
    parametrized.__reduce_ex__ = reduce  # type: ignore[assignment,method-assign]  # a class made by torch, for this module
    parametrized.__delattr__ = refuse_deletion  # type: ignore[method-assign]
    for name in _HOOKING:
        setattr(parametrized, name, partialmethod(partial(refuse_hooks, name)))
    parametrized.register_parameter = refuse_kernels  # type: ignore[assignment,method-assign]


def _unpickled(plain: type[nn.Module], tensors: list[str]) -> nn.Module:
    """Return a module of this class, still without content, that reads these tensors from its parametrizations."""
    module = plain.__new__(plain)
    parametrize._inject_new_class(module)
    for tensor in tensors:
        parametrize._inject_property(module, tensor)
    _complete(type(module))
    return module


def _prepare_for_loaded(steps: Any, _: Any) -> None:
    """Prepare the transformation at the head of a list for the base that was loaded."""
    first = steps[0]
    if isinstance(first, Beneath):
        cast("KernelTransform", first[0]).follow(steps._parameters[f"original{first.position}"])
    else:
        first.follow(steps.original)


def _accept_plain_checkpoint(module: nn.Module, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Let a plain checkpoint load strictly: its kernel becomes the base, and the transformation starts anew."""
    place = place_at(module, prefix.removesuffix("."))
    if place is None or place.names.key not in state:
        return
    names = place.names
    fresh = {f"{names.own}{name}": value for name, value in place.transform.state_dict().items()}
    if any(name in state for name in fresh) or (place.alone and names.base in state):
        return  # of a refocused model
    keys = [f"{names.stem}{key}" for key in place.steps.state_dict()]
    back = {names.plain(key): key for key in keys if not key.startswith(names.own)}
    plain = {key: state.pop(key) for key in back if key in state}
    state.update((back[key], value) for key, value in plain.items())
    base, own = state[names.base], place.base
    if base.shape == own.shape:  # if not, torch says so itself, with the name of the key
        with torch.no_grad():
            base, given = base.to(device=own.device, dtype=own.dtype), place.transform.given
            place.transform.reset(base if given is None else masked(base, given))
        state.update(fresh)


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
