"""Taps of a kernel as rows that can be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod


def plane(taps: Sequence[float], kernel_size: Sequence[int]) -> list[list[float]] | None:
    """Return taps in row-major order as rows; None for kernels of three dimensions.

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
        return None
    sizes = list(kernel_size)
    if len(sizes) != 2:
        sizes = [size for size in sizes if size > 1]
    wide = sizes[-1] if sizes else 1
    return [list(taps[start : start + wide]) for start in range(0, len(taps), wide)]


def drawable(kernel_size: Sequence[int]) -> bool:
    """Return whether a kernel has at most two dimensions of more than one tap."""
    return sum(size > 1 for size in kernel_size) <= 2


def times(kernel_size: Sequence[int]) -> str:
    """Return a size as people write it.

    Example:
        >>> times((3, 3)), times((7,))
        ('3 × 3', '7')
    """
    return " × ".join(map(str, kernel_size))
