"""The tensors and numbers inside any object, and how far those of two objects lie apart."""

from __future__ import annotations

import enum
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

_PLAIN = (str, bytes, type(None), type, enum.Enum, torch.dtype, torch.device, torch.layout, range, slice)
_CODE = (types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, types.CodeType)
_ARRAY = ("__array__", "__array_interface__")  # what arrays of other libraries and images have, which numpy reads


class Opaque(str):
    """The type of something that could not be looked into."""


@dataclass(frozen=True)
class Distance:
    """How far two objects lie apart."""

    #: largest absolute difference of two entries at the same place; infinite where anything is unlike
    difference: float
    #: the largest, over tensors, of that tensor's difference over its largest finite entry in the first object.
    #: Integers and truth values count as wholly different where they differ at all
    relative: float
    compared: int  #: number of tensors, numbers and texts that were compared
    opaque: tuple[str, ...]  #: places that could not be looked into, with their types
    unlike: tuple[str, ...]  #: places whose shape, kind or value that is no number differs


def leaves(value: Any) -> dict[str, Any]:
    """Return the tensors, numbers (as tensors), texts and opaque parts of an object by their place in it.

    An object that occurs a second time, as in a cycle, is the place where it was first met.
    """
    found: dict[str, Any] = {}
    _collect(value, "", found, {})
    return found


def distance(first: Any, second: Any) -> Distance:
    """Compare all that two objects hold; see :class:`Distance`."""
    before, after = leaves(first), leaves(second)
    unlike = [f"{place or 'the whole'}: only in one" for place in before.keys() ^ after.keys()]
    opaque, compared = [], 0
    difference = relative = 0.0
    for place, one in before.items():
        if place not in after:
            continue
        other, name = after[place], place or "the whole"
        if isinstance(one, Opaque) and one == other:
            opaque.append(f"{name} ({one})")
            continue
        tensors = isinstance(one, Tensor) and isinstance(other, Tensor)
        if tensors:
            compared += one.numel() > 0 or other.numel() > 0
            differs = _kind(one) != _kind(other) or one.shape != other.shape
        else:
            compared += one is not None
            differs = type(one) is not type(other) or one != other
        if differs:
            unlike.append(f"{name}: {_said(one)} -> {_said(other)}")
        elif tensors and one.numel():
            apart, scale = largest_difference(one, other), _largest_finite(one) or _largest_finite(other)
            difference = max(difference, apart)
            share = apart / scale if apart and scale else apart
            relative = max(relative, share if _kind(one) in {"floating", "complex"} or not apart else max(1.0, share))
    if unlike:
        difference = relative = float("inf")
    return Distance(difference, relative, compared, tuple(opaque), tuple(sorted(unlike)))


def largest_difference(a: Tensor, b: Tensor) -> float:
    """Return the largest absolute difference of two tensors of one shape.

    Equal infinities and two entries that are not a number do not differ; finite entries differ infinitely from others.
    """
    if not a.numel():
        return 0.0
    if _kind(a) in {"integer", "boolean"} and _kind(b) in {"integer", "boolean"}:
        a, b = a.to(torch.int64), b.to(torch.int64)
        apart = (a.double() - b.double()).abs().clamp(min=1)  # beyond 2^53 the difference itself may round to 0
        return float(torch.where(a == b, 0.0, apart).max())
    a, b = _parts(a), _parts(b)
    same = (a == b) | (a.isnan() & b.isnan())
    apart = torch.where(same, 0.0, (a - b).abs()).nan_to_num(nan=float("inf"), posinf=float("inf"))
    return float(torch.linalg.vector_norm(apart, dim=-1).max())


def _parts(value: Tensor) -> Tensor:
    """Return a real or complex tensor in float64 with a last dimension of one or two parts."""
    if value.is_complex():
        return torch.view_as_real(value.to(torch.complex128).resolve_conj())
    return value.double().unsqueeze(-1)


def _largest_finite(value: Tensor) -> float:
    parts = _parts(value)
    return float(torch.linalg.vector_norm(torch.where(parts.isfinite(), parts, 0.0), dim=-1).max())


def _kind(value: Tensor) -> str:
    if value.is_complex() or value.is_floating_point():
        return "complex" if value.is_complex() else "floating"
    return "boolean" if value.dtype == torch.bool else "integer"


def _said(value: Any) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
    text = str(value) if isinstance(value, Opaque) else repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _collect(value: Any, place: str, found: dict[str, Any], met: dict[int, tuple[str, Any]]) -> None:
    tensor = _as_tensor(value)
    if tensor is not None:
        found[place] = tensor
    elif isinstance(value, _PLAIN):
        found[place] = value
    elif id(value) in met:
        found[place] = f"the object at {met[id(value)][0] or 'the top'}"
    else:
        met[id(value)] = place, value  # the object too, lest its id be given to another one
        children = None if isinstance(value, _CODE) else _children(value)
        if children is None:
            found[place] = Opaque(type(value).__name__)
        for step, child in children or ():
            _collect(child, place + step, found, met)


def _as_tensor(value: Any) -> Tensor | None:
    """Return a dense tensor on the CPU of what is one, or a number or an array of numbers."""
    if isinstance(value, Tensor):
        if value.is_meta or value.is_nested:
            return None
        value = value.detach()
        if value.layout is not torch.strided:
            value = value.to_dense()
        dense: Tensor = value.dequantize() if value.is_quantized else value
        return dense.cpu()
    if isinstance(value, (bool, int, float, complex)) and not isinstance(value, enum.Enum):
        if type(value) is int and not -(2**63) <= value < 2**63:
            return None
        return torch.tensor(value, dtype=torch.float64 if isinstance(value, float) else None)
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, (numpy.ndarray, numpy.generic)) or value.dtype.kind not in "biufc":
        return None
    array: Tensor = torch.from_numpy(numpy.array(value, dtype=value.dtype.newbyteorder("="), copy=True))
    return array


def _children(value: Any) -> list[tuple[str, Any]] | None:
    """Return the parts of an object with the step that leads to each; None if it cannot be looked into."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", value[key]) for key in value]
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return [(f".{name}", getattr(value, name)) for name in value._fields]
    numpy = sys.modules.get("numpy")
    entries: Iterable[Any] | None = None
    if isinstance(value, (list, tuple)):
        entries = value
    elif isinstance(value, Tensor):  # nested; on the meta device there are no values
        entries = None if value.is_meta else value.unbind()
    elif isinstance(value, (set, frozenset)):
        plain = all(isinstance(entry, (*_PLAIN, int, float)) for entry in value)
        entries = sorted(value, key=repr) if plain else None
    elif numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic)):  # of texts or objects
        entries = numpy.asarray(value).ravel().tolist()
    elif type(value) in pytree.SUPPORTED_NODES:
        entries = pytree.SUPPORTED_NODES[type(value)].flatten_fn(value)[0]
    elif numpy is not None and not isinstance(value, Iterator) and any(hasattr(value, name) for name in _ARRAY):
        return [("", numpy.asarray(value))]
    elif not isinstance(value, Iterator):
        return [(f".{name}", entry) for name, entry in _attributes(value).items()] or None
    return None if entries is None else [(f"[{index}]", entry) for index, entry in enumerate(entries)]


def _attributes(value: Any) -> dict[str, Any]:
    """Return what an object stores under names: its slots and its own dictionary."""
    slots: dict[str, Any] = {}
    for kind in type(value).__mro__:
        names = vars(kind).get("__slots__", ())
        for name in (names,) if isinstance(names, str) else names:
            private = name.startswith("__") and not name.endswith("__")
            hidden = f"_{kind.__name__.lstrip('_')}{name}" if private else name
            if hidden not in {"__dict__", "__weakref__"} and hasattr(value, hidden):
                slots[name] = getattr(value, hidden)
    return {**slots, **getattr(value, "__dict__", {})}
