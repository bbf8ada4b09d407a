"""Launches of the Triton kernels: which kernel, with which tables, over which outputs."""

from __future__ import annotations

import importlib.util
import struct
import warnings
from collections.abc import Sequence
from contextlib import nullcontext
from functools import lru_cache
from itertools import product
from math import prod
from types import ModuleType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refconv.errors import RefconvWarning
from refconv.fused.tables import Tables

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64)  #: Of gradients and bases that kernels take
MOST_TAPS = 128  #: Of slices that are multiplied by Grams; larger ones are for matrix products

_UNROLLED = 256  # products that are written out; compilers take minutes over many times as many
_LANES = 128  # slices of a program where each has a lane
_TILE = 1024  # numbers of a program where slices are rows of a tile
_ALIGNMENT = 64  # of outputs, in numbers


@lru_cache
def launches(device: torch.device) -> bool:
    """Return whether the kernels run on a device. The first call tries; what fails is said in a warning.

    Triton is asked for on CUDA, ROCm and XPU only, and on NVIDIA GPUs from compute capability 8.0.
    """
    if device.type not in {"cuda", "xpu"} or importlib.util.find_spec("triton") is None:
        return False
    if device.type == "cuda" and torch.version.hip is None and torch.cuda.get_device_capability(device) < (8, 0):
        return False
    try:
        _try_out(device)
    except Exception as error:  # noqa: BLE001 compilers and drivers raise what they like; the reason is passed on
        reason = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        text = f"{device}: Triton does not run here, so torch rewrites gradients, more slowly ({reason})"
        warnings.warn(text, RefconvWarning, stacklevel=2)
        return False
    return True


def rewrite_slices(
    gradients: Sequence[Tensor],
    bases: Sequence[Tensor],
    kernel_size: Sequence[int],
    map_size: Sequence[int],
    roots: Sequence[Tensor | None],
    *,
    factor: float = 0.0,
    dtype: torch.dtype | None = None,
    tables: Tables | None = None,
    unrolled: bool | None = None,
) -> list[Tensor]:
    """Return (g P^T) P / c_S^2 + factor B of every tensor, for blocks of one slice, by one launch.

    Args:
        gradients: kernels of one dtype on one device, in their stored shapes; the last axes are those of the kernel.
        bases: their bases, of the same shapes and dtype.
        kernel_size: the same for all.
        map_size: the same for all.
        roots: c_S of every slice in the computing dtype, contiguous, or None where it is one.
        factor: on the base, for weight decay.
        dtype: of the outputs; by default that of the gradients. Outputs are stored as gradients are.
        tables: where the tables of earlier calls are kept.
        unrolled: whether a slice's numbers are held in registers, or read again from the cache; by default what is
            quick to compile: registers for small slices.
    """
    chosen = for_slices(tuple(kernel_size), tuple(map_size), unrolled=unrolled)
    more = [(0 if root is None else root.data_ptr(), 0) for root in roots]
    return _launched(chosen, gradients, bases, more, factor, dtype, tables)


def rewrite_rows(
    gradients: Sequence[Tensor],
    bases: Sequence[Tensor],
    grams: Sequence[Tensor],
    owners: Sequence[Tensor | None],
    taps: int,
    *,
    factor: float = 0.0,
    dtype: torch.dtype | None = None,
    tables: Tables | None = None,
) -> list[Tensor]:
    """Return every slice times the Gram of its block, plus factor B, of all tensors by one launch, in full precision.

    Args:
        gradients: kernels of one dtype on one device, in their stored shapes.
        bases: their bases, which only the factor is for.
        grams: [b, k, k] of every tensor in the computing dtype, contiguous.
        owners: the block of every slice in the order in which they are stored, int32; None where there is one block.
        taps: k, the same for all.
        factor: on the base, for weight decay.
        dtype: of the outputs; by default that of the gradients.
        tables: where the tables of earlier calls are kept.
    """
    more = [
        (gram.data_ptr(), 0 if owner is None else owner.data_ptr()) for gram, owner in zip(grams, owners, strict=True)
    ]
    return _launched(for_rows(taps), gradients, bases, more, factor, dtype, tables)


def _try_out(device: torch.device) -> None:
    """Launch the smallest kernel."""
    one = torch.ones(1, 1, 1, device=device)
    rewrite_rows([one], [one], [one], [None], 1)


class Variant(NamedTuple):
    """A kernel by name, with what it is compiled for, and how many slices a program of it takes."""

    name: str
    constants: dict[str, Any]
    block: int

    def types(self, dtype: torch.dtype) -> dict[str, Any]:
        """Return the types for tensors of a dtype, in Triton's words."""
        language: Any = _kernels().tl
        computing = torch.promote_types(dtype, torch.float32)
        return {"OWN": getattr(language, str(dtype)[6:]), "DTYPE": getattr(language, str(computing)[6:])}


def for_slices(kernel_size: tuple[int, ...], map_size: tuple[int, ...], *, unrolled: bool | None = None) -> Variant:
    """Return the kernel for blocks of one slice; ``unrolled`` as for :func:`rewrite_slices`."""
    taps, shifts = prod(kernel_size), prod(map_size)
    if unrolled if unrolled is not None else taps * shifts <= _UNROLLED:
        constants: dict[str, Any] = {"NEIGHBOURS": neighbours(kernel_size, map_size), "TAPS": taps, "SHIFTS": shifts}
        return Variant("slices_in_registers", constants, _LANES)
    width = _power_of_two(taps)
    sides = {"K": (1,) * (3 - len(kernel_size)) + kernel_size, "M": (1,) * (3 - len(map_size)) + map_size}
    constants = {f"{name}{axis}": side[axis] for name, side in sides.items() for axis in range(3)}
    return Variant("slices_in_tiles", {**constants, "TAPS": taps, "WIDTH": width}, max(1, _TILE // width))


def for_rows(taps: int) -> Variant:
    """Return the kernel for slices of so many taps that are multiplied by Grams."""
    width = _power_of_two(taps)
    return Variant("rows", {"TAPS": taps, "WIDTH": width}, max(1, _TILE // width))


@lru_cache
def neighbours(kernel_size: tuple[int, ...], map_size: tuple[int, ...]) -> tuple[int, ...]:
    """Return for every shift d and tap y the flat number of the tap at y + d - r, or -1 outside of the kernel."""
    found = []
    for shift, tap in product(product(*map(range, map_size)), product(*map(range, kernel_size))):
        place = [y + d - m // 2 for y, d, m in zip(tap, shift, map_size, strict=True)]
        number = 0
        for y, k in zip(place, kernel_size, strict=True):
            number = number * k + y
        found.append(number if all(0 <= y < k for y, k in zip(place, kernel_size, strict=True)) else -1)
    return tuple(found)


def _launched(
    variant: Variant,
    gradients: Sequence[Tensor],
    bases: Sequence[Tensor],
    more: Sequence[tuple[int, int]],
    factor: float,
    dtype: torch.dtype | None,
    tables: Tables | None,
) -> list[Tensor]:
    """Write the tables, allocate all outputs in one piece, launch, and return the outputs."""
    tables = tables or Tables()
    gradients, bases = [_stored(one) for one in gradients], [_stored(one) for one in bases]
    own, device = gradients[0].dtype, gradients[0].device
    bits, taps = _bits(factor, torch.promote_types(own, torch.float32)), variant.constants["TAPS"]
    says = tuple((g.numel() // taps, _step(g), _step(b)) for g, b in zip(gradients, bases, strict=True))
    starts, total = [], 0
    for gradient in gradients:
        starts.append(total)
        total += -(-gradient.numel() // _ALIGNMENT) * _ALIGNMENT
    key = variant.name, tuple(variant.constants.values()), own, device
    geometry = [
        number for (slices, *steps), start in zip(says, starts, strict=True) for number in (slices, start, *steps)
    ]
    addresses = tuple(
        number
        for g, b, others in zip(gradients, bases, more, strict=True)
        for number in (g.data_ptr(), b.data_ptr(), *others, bits)
    )
    programs = tables.table((key, "programs"), says, lambda: _programs(says, variant.block), device)
    out = torch.empty(total, dtype=dtype or own, device=device)
    arguments = [
        tables.table((key, "addresses"), addresses, lambda: addresses, device),
        tables.table((key, "geometry"), says, lambda: geometry, device),
        programs,
        out,
    ]
    settings = {"BLOCK": variant.block, "num_warps": _warps(device), "enable_fp_fusion": True}
    with _current(device):
        kernel = getattr(_kernels(), variant.name)[len(programs) // 2,]
        kernel(*arguments, **variant.constants, **variant.types(own), **settings)
    return [out.as_strided(g.size(), g.stride(), start) for g, start in zip(gradients, starts, strict=True)]


def _programs(says: Sequence[tuple[int, int, int]], block: int) -> list[int]:
    """Return tensor and first slice of every program."""
    return [
        number for tensor, row in enumerate(says) for first in range(0, row[0], block) for number in (tensor, first)
    ]


def _step(stored: Tensor) -> int:
    """Return the distance between taps of a slice: 1, or the input channels where channels are last."""
    return 1 if stored.is_contiguous() else stored.shape[1]


def _stored(tensor: Tensor) -> Tensor:
    """Return a tensor as kernels can read it: contiguous, or with channels last."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(tensor.ndim)
    if last is not None and tensor.is_contiguous(memory_format=last):
        return tensor
    return tensor.contiguous()


def _bits(factor: float, dtype: torch.dtype) -> int:
    """Return the bits of a number in float32 or float64 as a whole number."""
    kinds = ("d", "q") if dtype == torch.float64 else ("f", "i")
    found: int = struct.unpack("<" + kinds[1], struct.pack("<" + kinds[0], factor))[0]
    return found


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()


def _warps(device: torch.device) -> int:
    """Return the warps of a program: a lane for each of its slices; those of AMD have 64 lanes."""
    return 2 if device.type == "cuda" and torch.version.hip is not None else 4


def _kernels() -> ModuleType:
    """Import the kernels, and triton with them."""
    from refconv.fused import triton_kernels

    return triton_kernels


def _current(device: torch.device) -> Any:
    """Return a context in which a device is the current one, on which Triton launches; tests interpret on a CPU."""
    return nullcontext() if device.type == "cpu" else torch.get_device_module(device.type).device(device)
