"""Compiled loops over the slices of dense kernels on a CPU: g G, a whole step of SGD with it, and the halves of it.

Every function takes tensors for which :func:`fits` is true, and has a counterpart of torch operations in
:mod:`refconv.ops` that gives the same to rounding. Slices are independent, so results do not depend on the threads.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from math import prod
from typing import Any, cast

import torch
from torch import Tensor, nn

from refconv.fused.compiled import library

_MOST_TAPS = 512  #: Slices and maps of more taps or pairs of them would not stay in the innermost cache
_LANES = 16  #: Slices that the loops handle at a time
_SHARE = 2**14  #: Slices that a thread takes at least


_TENSORS, _SLICES = [ctypes.c_void_p], [ctypes.c_int64, ctypes.c_int64]
_SIGNATURES = {
    "refocus_step": _TENSORS * 6 + _SLICES + [ctypes.c_int32] + [ctypes.c_void_p] * 3,
    "refocus_gradient": _TENSORS * 5 + _SLICES + [ctypes.c_int32] + [ctypes.c_void_p] * 2,
    "refocus_slices": _TENSORS * 3 + _SLICES + [ctypes.c_int32, ctypes.c_void_p],
    "adjoint_slices": _TENSORS * 3 + _SLICES + [ctypes.c_int32, ctypes.c_void_p],
}


class _Geometry(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_int32) for name in ("taps", "shifts")),
        *((name, ctypes.POINTER(ctypes.c_int32)) for name in ("first", "to", "source")),
    )


class _Place(ctypes.Structure):
    _fields_ = (*((name, ctypes.c_int64) for name in ("outer", "inner", "outer_stride", "slice_stride", "tap_stride")),)


@dataclass(frozen=True)
class Rule:
    """What becomes of a kernel: torch's SGD with v = sign g G + decay (kernel - center base) for the gradient.

    Args:
        rate, momentum, dampening, nesterov: as in torch's SGD.
        decay: w.
        sign: -1 to maximize, 1 otherwise.
        center: 1 where decay pulls towards the base, 0 towards zero.
        first: whether the momentum starts with this step.
    """

    rate: float
    momentum: float
    dampening: float
    nesterov: bool
    decay: float
    sign: float
    center: float
    first: bool


def fits(kernel_size: Sequence[int], map_size: Sequence[int], *tensors: Tensor) -> bool:
    """Return whether the loops are there for these tensors: on a CPU, of one supported dtype, with a compiler."""
    if torch.compiler.is_compiling() or torch._C._is_tracing():
        return False
    if torch._C._are_functorch_transforms_active() or torch._C._len_torch_dispatch_stack():
        return False  # what watches operations or transforms them would not see the loops
    dtype = tensors[0].dtype
    plain = all(
        type(one) in {Tensor, nn.Parameter}
        and (one.device.type, one.layout, one.dtype) == ("cpu", torch.strided, dtype)
        and not one.is_neg()  # whose memory holds the negative
        for one in tensors
    )
    small = prod(kernel_size) <= _MOST_TAPS and prod(map_size) <= _MOST_TAPS
    return plain and small and _checked_library(dtype) is not None


def place(tensor: Tensor, taps: int) -> tuple[int, int, int, int, int] | None:
    """Return where the slices of a stored weight lie, None where neither slices nor taps lie side by side.

    The numbers are those of :class:`_Place`: outer runs of inner slices, and the strides of runs, slices and taps.
    """
    if tensor.is_contiguous():
        return 1, max(tensor.numel() // taps, 1), 0, taps, 1
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
    if last is not None and tensor.is_contiguous(memory_format=last) and tensor[0, 0].numel() == taps:
        outer, inner = tensor.shape[:2]
        return outer, inner, inner * taps, 1, inner
    return None


def multiply(
    gradient: Tensor,
    base: Tensor,
    kernel_size: tuple[int, ...],
    map_size: tuple[int, ...],
    *,
    root: Tensor | None = None,
    shift: Tensor | None = None,
    keep: bool = False,
) -> Tensor:
    """Return g G / c_S^2 + s g in the stored shape of the gradient.

    Args:
        gradient: a stored weight's, of a dense layer.
        base: of its shape.
        kernel_size: taps per dimension.
        map_size: odd taps of the map per dimension.
        root: c_S of every slice, in their stored order and in the dtype of computing; None where all are one.
        shift: s of every slice, likewise, which damping adds; None where there is none.
        keep: whether entries stay that are zero in the base, M ((M g) G) / c_S^2 + s M g.
    """
    where = place(gradient, prod(kernel_size))
    if where is None:
        gradient = gradient.contiguous()
        where = place(gradient, prod(kernel_size))
    base, out = strided_as(gradient, base), torch.empty_like(gradient)
    about = keep, _place(where), _geometry(kernel_size, map_size)
    function = _function("refocus_gradient", gradient.dtype)
    pointers = [_pointer(one) for one in (out, gradient, base, root, shift)]
    _share_out(_count(gradient, kernel_size), lambda start, count: function(*pointers, start, count, *about))
    return out


def step(
    kernel: Tensor,
    gradient: Tensor,
    buffer: Tensor | None,
    base: Tensor,
    kernel_size: tuple[int, ...],
    map_size: tuple[int, ...],
    rule: Rule,
    *,
    root: Tensor | None = None,
    shift: Tensor | None = None,
    keep: bool = False,
) -> None:
    """Take a step of SGD on a kernel in place, with the gradient as refocusing has it.

    Args:
        kernel: a stored weight whose :func:`place` is known.
        gradient: by the plain kernel, of its shape and strides, as the following.
        buffer: of its momentum, which changes in place; None without momentum.
        base: of the kernel.
        kernel_size: taps per dimension.
        map_size: odd taps of the map per dimension.
        rule: the step.
        root: as :func:`multiply` has it.
        shift: likewise.
        keep: likewise.
    """
    where = place(kernel, prod(kernel_size))
    assert where is not None
    about = keep, _place(where), _geometry(kernel_size, map_size), _update(rule, kernel.dtype)
    function = _function("refocus_step", kernel.dtype)
    pointers = [_pointer(one) for one in (kernel, gradient, buffer, base, root, shift)]
    _share_out(_count(kernel, kernel_size), lambda start, count: function(*pointers, start, count, *about))
    torch.autograd.graph.increment_version([kernel, *([] if buffer is None else [buffer])])


def refocused(
    weight: Tensor, slices: Tensor, kernel_size: tuple[int, ...], map_size: tuple[int, ...], *, add: bool = False
) -> Tensor:
    """Return R P [n, 1, k] of refocus weights [n, 1, t] and slices B [n, 1, k], or B + R P if ``add``."""
    return _half("refocus_slices", weight, slices, torch.empty_like(slices), kernel_size, map_size, add)


def adjoint(gradient: Tensor, slices: Tensor, kernel_size: tuple[int, ...], map_size: tuple[int, ...]) -> Tensor:
    """Return g P^T [n, 1, t] of gradients [n, 1, k] and slices [n, 1, k]."""
    out = gradient.new_empty(*gradient.shape[:-1], prod(map_size))
    return _half("adjoint_slices", gradient, slices, out, kernel_size, map_size, False)


def _half(
    name: str,
    given: Tensor,
    slices: Tensor,
    out: Tensor,
    kernel_size: tuple[int, ...],
    map_size: tuple[int, ...],
    add: bool,
) -> Tensor:
    given, slices = given.contiguous(), slices.contiguous()
    function, map_ = _function(name, out.dtype), _geometry(kernel_size, map_size)
    pointers = [_pointer(one) for one in (out, given, slices)]
    _share_out(len(slices), lambda start, count: function(*pointers, start, count, add, map_))
    return out


def strided_as(like: Tensor, other: Tensor) -> Tensor:
    """Return another tensor with the strides of one."""
    return other if other.stride() == like.stride() else torch.empty_like(like).copy_(other)


def _count(tensor: Tensor, kernel_size: Sequence[int]) -> int:
    return tensor.numel() // prod(kernel_size)


def _pointer(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


@functools.cache
def _function(name: str, dtype: torch.dtype) -> Callable[..., None]:
    found = _checked_library(dtype)
    assert found is not None
    function: Any = found[name]
    function.restype = None
    function.argtypes = _SIGNATURES[name]
    return cast("Callable[..., None]", function)


def _pairs(kernel_size: Sequence[int], map_size: Sequence[int]) -> Iterator[list[tuple[int, int]]]:
    """Yield the taps (to, from) that meet under each shift: the slice has ``from`` at the place of ``to``."""
    taps = {position: index for index, position in enumerate(itertools.product(*map(range, kernel_size)))}
    for shift in itertools.product(*(range(-(size // 2), size // 2 + 1) for size in map_size)):
        met = (taps.get(tuple(a + b for a, b in zip(position, shift, strict=True))) for position in taps)
        yield [(to, source) for to, source in enumerate(met) if source is not None]


@functools.cache
def _geometry(kernel_size: tuple[int, ...], map_size: tuple[int, ...]) -> object:
    pairs = list(_pairs(kernel_size, map_size))
    first = [0, *itertools.accumulate(map(len, pairs))]
    arrays = [first, *([pair[side] for shift in pairs for pair in shift] for side in (0, 1))]
    return ctypes.byref(
        _Geometry(prod(kernel_size), len(pairs), *((ctypes.c_int32 * len(one))(*one) for one in arrays))
    )


@functools.lru_cache(1024)
def _place(where: tuple[int, int, int, int, int]) -> object:
    return ctypes.byref(_Place(*where))


@functools.lru_cache(64)
def _update(rule: Rule, dtype: torch.dtype) -> object:
    real = ctypes.c_double if dtype == torch.float64 else ctypes.c_float
    names = ("rate", "momentum", "dampening", "decay", "sign", "center")

    class Update(ctypes.Structure):
        _fields_ = (*((name, real) for name in names), ("nesterov", ctypes.c_int32), ("first", ctypes.c_int32))

    return ctypes.byref(Update(*(getattr(rule, name) for name in names), rule.nesterov, rule.first))


# Threads. ctypes lets go of the interpreter's lock while a loop runs; a forked process starts with threads of its own.

_threads: ThreadPoolExecutor | None = None


def _share_out(count: int, call: Callable[[int, int], None]) -> None:
    """Call a loop with (start, count) of each thread's share of the slices."""
    shares = max(1, min(torch.get_num_threads(), count // _SHARE))
    if shares == 1:
        call(0, count)
        return
    global _threads
    if _threads is None or _threads._max_workers < shares - 1:
        _threads = ThreadPoolExecutor(shares - 1, "refconv")
    size = -(-count // shares)
    others = [_threads.submit(call, start, min(size, count - start)) for start in range(size, count, size)]
    call(0, size)
    wait(others)
    for other in others:
        other.result()


def _forget_threads() -> None:
    global _threads
    _threads = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_threads)


@functools.cache
def _checked_library(dtype: torch.dtype) -> ctypes.CDLL | None:
    """Return the loops for a dtype, unless what the compiler made of them computes something else than they say."""
    found = library(dtype)
    if found is None:
        return None
    sizes, slices = (3, 3), 3 * _LANES - 5
    numbers = torch.arange(2 * slices * 9).mul(2654435761).remainder(17).sub(8).to(dtype)  # exact sums of small numbers
    gradient, base = numbers.reshape(2, slices, 9)
    out = torch.empty_like(gradient)
    function: Any = found["refocus_gradient"]
    function.restype, function.argtypes = None, _SIGNATURES["refocus_gradient"]
    about = _place((1, slices, 0, 9, 1)), _geometry(sizes, sizes)
    function(*map(_pointer, (out, gradient, base, None, None)), 0, slices, 0, *about)
    expected = _by_loops(gradient.double(), base.double(), sizes, sizes).to(dtype)
    return found if torch.equal(out, expected) else None


def _by_loops(gradient: Tensor, base: Tensor, kernel_size: Sequence[int], map_size: Sequence[int]) -> Tensor:
    """Return g G [n, k] of slices [n, k], one pair of taps at a time."""
    out = torch.zeros_like(gradient)
    for pairs in _pairs(kernel_size, map_size):
        weight = sum(gradient[:, to] * base[:, source] for to, source in pairs)
        for to, source in pairs:
            out[:, to] += weight * base[:, source]
    return out
