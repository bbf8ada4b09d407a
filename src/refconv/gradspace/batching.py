"""The gradients of all refocused kernels of a step, rewritten together on accelerators and one by one elsewhere.

On an accelerator the time of a step is that of its launches. Dense kernels of one size and dtype take one launch of
:func:`refconv.fused.launching.rewrite_slices`, depthwise and grouped ones one of :func:`rewrite_rows`; without
Triton they are put together into a few large tensors. Kernels with masks, complex ones, powers of the Gram, damped
dense ones and layers too large for these take the ways of :mod:`refconv.gradspace.metric`. Nothing here waits for the
device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import torch
from torch import Tensor

from refconv.fused.batched import by_shifts
from refconv.fused.launching import DTYPES, MOST_TAPS, launches, rewrite_rows, rewrite_slices
from refconv.fused.tables import Tables
from refconv.gradspace.metric import ByGrams, BySlices, Metric
from refconv.ops import apply_gram
from refconv.parametrizations import memory_format

_TOGETHER = 2**24  # numbers that are put together at most, where launches are torch's


def way(device: torch.device) -> Literal["triton", "torch", "alone"]:
    """Return how kernels on a device are rewritten: by Triton, put together by torch, or each by itself."""
    if device.type == "cpu":
        return "alone"
    return "triton" if launches(device) else "torch"


def rewritten(
    metrics: Sequence[Metric], gradients: Sequence[Tensor], centers: Sequence[Tensor], factor: float, tables: Tables
) -> list[Tensor]:
    """Return g G / c_S^2 + factor C of every kernel, in the dtype and memory format of its gradient.

    Args:
        metrics: of the kernels.
        gradients: (this process's parts of) the gradients by the kernels.
        centers: C, which weight decay pulls towards; in launches of Triton the bases that metrics have.
        factor: on C.
        tables: of launches; kept by the optimizer from step to step.
    """
    found: dict[int, Tensor] = {}
    for kind, chosen in _together(metrics, gradients):
        if kind.way == "triton" and (factor == 0 or all(centers[one] is _base(metrics[one]) for one in chosen)):
            own, parts = [metrics[one] for one in chosen], [gradients[one] for one in chosen]
            found.update(zip(chosen, _launched(kind, own, parts, tables, factor=factor), strict=True))
    rest = [one for one in range(len(metrics)) if one not in found]
    results = products([metrics[one] for one in rest], [gradients[one] for one in rest], tables)
    if factor != 0 and rest:
        torch._foreach_add_(results, [centers[one] for one in rest], alpha=factor)
    for one, result in zip(rest, results, strict=True):
        part = gradients[one]
        found[one] = result.to(part.dtype).contiguous(memory_format=memory_format(part))
    return [found[one] for one in range(len(metrics))]


def products(metrics: Sequence[Metric], gradients: Sequence[Tensor], tables: Tables) -> list[Tensor]:
    """Return g G / c_S^2 of every kernel in the dtype that its metric computes in."""
    found: dict[int, Tensor] = {}
    for kind, chosen in _together(metrics, gradients):
        own, parts = [metrics[one] for one in chosen], [gradients[one] for one in chosen]
        if kind.way == "triton":
            results = _launched(kind, own, parts, tables, dtype=own[0].dtype)
        else:
            results = (_slices if kind.map_size else _rows)(kind, own, parts)
        found.update(zip(chosen, results, strict=True))
    return [found[one] if one in found else metrics[one].apply(gradients[one]) for one in range(len(metrics))]


@dataclass(frozen=True)
class _Kind:
    """What kernels have in common that are rewritten together."""

    way: str
    device: torch.device
    dtype: torch.dtype
    kernel_size: tuple[int, ...]
    map_size: tuple[int, ...] = ()  # empty where slices are multiplied by Grams
    block_shape: tuple[int, ...] = ()  # where torch stacks blocks


def _kind(metric: Metric, gradient: Tensor) -> _Kind | None:
    """Return what a kernel is rewritten together with, or None where it goes alone."""
    base = _base(metric)
    how = way(gradient.device)
    fits = base is not None and base.dtype == gradient.dtype and base.device == gradient.device
    if how == "alone" or not fits or metric.mask is not None or gradient.dtype not in DTYPES:
        return None
    kernel, maps = metric.sizes
    common = how, gradient.device, gradient.dtype
    if isinstance(metric, BySlices):
        return _Kind(*common, kernel, maps) if metric.grams is None and metric.shift is None else None
    if how == "torch":
        return _Kind(*common, kernel, block_shape=metric.layout.block_shape)
    return _Kind(*common, (metric.layout.taps,)) if metric.layout.taps <= MOST_TAPS else None


def _base(metric: Metric) -> Tensor | None:
    return metric.base if isinstance(metric, (BySlices, ByGrams)) else None


def _together(metrics: Sequence[Metric], gradients: Sequence[Tensor]) -> list[tuple[_Kind, list[int]]]:
    """Return the positions of kernels that are rewritten together, by what they have in common."""
    found: dict[_Kind, list[int]] = {}
    for position, (metric, gradient) in enumerate(zip(metrics, gradients, strict=True)):
        kind = _kind(metric, gradient)
        if kind is not None:
            found.setdefault(kind, []).append(position)
    return list(found.items())


def _launched(
    kind: _Kind,
    metrics: Sequence[Any],
    gradients: Sequence[Tensor],
    tables: Tables,
    *,
    factor: float = 0.0,
    dtype: torch.dtype | None = None,
) -> list[Tensor]:
    bases = [metric.base for metric in metrics]
    settings: dict[str, Any] = {"factor": factor, "dtype": dtype, "tables": tables}
    if kind.map_size:
        roots = [metric.root for metric in metrics]
        return rewrite_slices(gradients, bases, kind.kernel_size, kind.map_size, roots, **settings)
    grams, owners = [metric.grams for metric in metrics], [metric.owners for metric in metrics]
    return rewrite_rows(gradients, bases, grams, owners, *kind.kernel_size, **settings)


def _slices(kind: _Kind, metrics: Sequence[Any], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Put slices one after the other, as many as may be."""
    found: list[Tensor] = []
    shape = -1, 1, prod(kind.kernel_size)
    for part in _runs([gradient.numel() for gradient in gradients]):
        chosen, own = metrics[part], gradients[part]
        sizes, dtype = [one.numel() // shape[-1] for one in own], chosen[0].dtype
        slices, bases = (
            torch.cat([one.reshape(shape) for one in listed]).to(dtype)
            for listed in (own, [metric.base for metric in chosen])
        )
        roots = [
            slices.new_ones(size, 1, 1) if metric.root is None else metric.root
            for metric, size in zip(chosen, sizes, strict=True)
        ]
        scaled = any(metric.root is not None for metric in chosen)
        results = by_shifts(slices, bases, kind.kernel_size, kind.map_size, torch.cat(roots) if scaled else None)
        found += [one.reshape(like.shape) for one, like in zip(results.split(sizes), own, strict=True)]
    return found


def _rows(kind: _Kind, metrics: Sequence[Any], gradients: Sequence[Tensor]) -> list[Tensor]:
    """Multiply the blocks of all layers of a shape by their Grams, as one batched product."""
    blocks = [metric.layout.to_blocks(gradient) for metric, gradient in zip(metrics, gradients, strict=True)]
    grams = torch.cat([metric.grams for metric in metrics])
    results = apply_gram(torch.cat(blocks).to(grams.dtype), grams).split(kind.block_shape[0])
    return [metric.layout.from_blocks(result) for metric, result in zip(metrics, results, strict=True)]


def _runs(sizes: Sequence[int]) -> Iterator[slice]:
    """Cut tensors of so many numbers into runs that are small enough together, or single ones."""
    first = held = 0
    for position, size in enumerate(sizes):
        if position > first and held + size > _TOGETHER:
            yield slice(first, position)
            first, held = position, 0
        held += size
    yield slice(first, len(sizes))
