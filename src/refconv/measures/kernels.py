"""Kernels to look at: the same slices of every layer in two models; the record, its verdict, and how taps are drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import hypot, prod
from statistics import median
from typing import Any

from refconv.measures.direction import NEGLIGIBLE
from refconv.measures.numbers import percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import LayerRecord, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record

Taps = Sequence[float]


@dataclass(frozen=True)
class LayerKernels(LayerRecord):
    """Some slices of one layer in two models.

    Attributes:
        kernel_size: taps per dimension.
        slices: how many the layer has.
        chosen: which of them are given: numbers in the order of output channels, ascending.
        before: a row per chosen slice, its taps in row-major order, of the first model.
        after: the same of the second.
    """

    kernel_size: tuple[int, ...]
    slices: int
    chosen: tuple[int, ...]
    before: tuple[tuple[float, ...], ...]
    after: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class KernelSamples(Record):
    """The same slices of two models, at most ``shown`` of a layer, drawn with a seed."""

    layers: tuple[LayerKernels, ...]
    shown: int
    seed: int

    def __str__(self) -> str:
        names = {"layer": "layer", "kind": "kind", "kernel": "kernel_size", "slices": "slices"}
        return table_of(self.layers, {**names, "given": lambda row: len(row.chosen)})


def _findings(item: Measured) -> Iterator[Said]:
    """Yield by how much the shown kernels of a layer changed, as a share of their length."""
    shares = [(share, row.layer) for row in item.record.layers if (share := relative(row)) is not None]
    most, layer = max(shares, default=(0.0, ""))
    if not shares:
        yield "The kernels of the start that are shown are all zero.", "unclear"
        return
    if most == 0:
        yield "None of the kernels that are shown changed.", "same"
        return
    middle = median(share for share, _ in shares)
    text = f"The kernels shown of {layer}, the only layer, differ by {percent(most)} of their length."
    if len(shares) > 1:
        text = (
            f"The kernels shown differ by {percent(middle)} of their length in the median of {len(shares)} layers, "
            f"most in {layer}, by {percent(most)}."
        )
    yield text, "same" if middle < NEGLIGIBLE else "different"


def relative(row: Any) -> float | None:
    """Return the length of a layer's change over the length of its start; None if that is zero."""
    length = length_of(row.before)
    return length_of(difference(row)) / length if length else None


def length_of(kernels: Sequence[Taps]) -> float:
    """Return the root of the square sum of all taps."""
    return hypot(*(tap for kernel in kernels for tap in kernel))


def difference(row: Any) -> list[list[float]]:
    """Return the kernels after less those before."""
    both = zip(row.before, row.after, strict=True)
    return [[last - first for first, last in zip(before, after, strict=True)] for before, after in both]


def plane(taps: Taps, kernel_size: Sequence[int]) -> list[list[float]]:
    """Return taps in row-major order as rows that can be drawn; none for kernels of three dimensions.

    Dimensions of one tap do not count, and kernels of one dimension are a row, or a column if they stand upright.

    Raises:
        ValueError: if there are not as many taps as the kernel has.

    Example:
        >>> plane([1, 2, 3, 4, 5, 6], (2, 3)), plane([1, 2], (2, 1)), plane([1, 2], (2,))
        ([[1, 2, 3], [4, 5, 6]], [[1], [2]], [[1, 2]])
    """
    if len(taps) != prod(kernel_size):
        raise ValueError(f"expected {prod(kernel_size)} taps of a kernel {tuple(kernel_size)}, found {len(taps)}")
    if not drawable(kernel_size):
        return []
    sizes = list(kernel_size)
    if len(sizes) != 2:
        sizes = [size for size in sizes if size > 1]
    wide = sizes[-1] if sizes else 1
    return [list(taps[start : start + wide]) for start in range(0, len(taps), wide)]


def drawable(kernel_size: Sequence[int]) -> bool:
    """Return whether a kernel has at most two dimensions of more than one tap."""
    return sum(size > 1 for size in kernel_size) <= 2


KERNELS = Verdict("kernels", _findings)
