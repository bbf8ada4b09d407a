"""The mathematics of refocusing, written slowly: one loop per index, straight from the definition (docs/math.md).

The tests compare everything else with it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor


def reference_blocks(weight: Tensor, groups: int, order: str, transposed: bool = False) -> list[list[Tensor]]:
    """Return the slices of an ordinary or transposed convolution's weight, gathered into blocks.

    Args:
        weight: [out, in // groups, *kernel_size], or [in, out // groups, *kernel_size] if transposed.
        groups: groups of the convolution.
        order: as in ``refconv.ops.Layout``; the slices of ``filters`` are the kernels of a filter one above the other.
        transposed: which of the two layouts the weight has.
    """
    slices = {}
    for group in range(groups):
        outer, inner = weight.shape[0] // groups, weight.shape[1]
        for a, b in itertools.product(range(outer), range(inner)):
            out, in_ = (b, a) if transposed else (a, b)
            slices[group, out, in_] = weight[group * outer + a, b]
    positions = sorted(slices)
    if order == "across":
        positions = sorted(positions, key=lambda position: (position[1], position[2], position[0]))
    ordered = [slices[position] for position in positions]
    if order == "filters":
        inner = weight.shape[0] // groups if transposed else weight.shape[1]
        return [[torch.cat(ordered[start : start + inner]) for start in range(0, len(ordered), inner)]]
    if order == "layer":
        return [ordered]
    return [ordered[start : start + groups] for start in range(0, len(ordered), groups)]


def reference_refocus(slices: Sequence[Tensor], weight: Tensor, map_size: Sequence[int]) -> list[Tensor]:
    """Return the kernels of one block: each slice plus a sum over all slices and all shifts.

    Args:
        slices: the m slices of the block, each of shape ``kernel_size``.
        weight: the block's refocus weight [m, m * t].
        map_size: odd taps of the map per spatial dimension.
    """
    m = len(slices)
    reach = [(size - 1) // 2 for size in map_size]
    kernels = []
    for i in range(m):
        kernel = slices[i].clone()
        for j in range(m):
            for number, shift in enumerate(_indices(map_size)):
                for position in _indices(slices[j].shape):
                    seen = tuple(y + d - r for y, d, r in zip(position, shift, reach, strict=True))
                    if all(0 <= x < taps for x, taps in zip(seen, slices[j].shape, strict=True)):
                        kernel[position] += weight[i, j * len(list(_indices(map_size))) + number] * slices[j][seen]
        kernels.append(kernel)
    return kernels


def reference_gram(slices: Sequence[Tensor], map_size: Sequence[int]) -> Tensor:
    """Return the Gram [k, k] of one block: entry (y, z) sums what slices and shifts show at y times at z."""
    kernel_size = tuple(slices[0].shape)
    reach = [(size - 1) // 2 for size in map_size]
    positions = list(_indices(kernel_size))
    total = torch.zeros(len(positions), len(positions), dtype=slices[0].dtype)

    def shown(slice_: Tensor, position: Sequence[int], shift: Sequence[int]) -> Tensor:
        seen = tuple(y + d - r for y, d, r in zip(position, shift, reach, strict=True))
        inside = all(0 <= x < taps for x, taps in zip(seen, kernel_size, strict=True))
        return slice_[seen] if inside else slice_.new_zeros(())

    for slice_, shift in itertools.product(slices, _indices(map_size)):
        row = [shown(slice_, y, shift).item() for y in positions]
        total += torch.tensor([[at_y * at_z for at_z in row] for at_y in row], dtype=total.dtype)
    return total


def reference_scaling(rows: Tensor) -> tuple[float, float]:
    """Return the capped scales (c_A, c_S) of one block from the rows [m * t, k] of its patches P'.

    The sums go over pairs of rows, as the bound of docs/math.md has them before it is written with k x k matrices.
    The largest eigenvalue of P'^T P' is the square of the largest singular value of P'.
    """
    taps, pairs = rows.shape[1], 0.0
    for one in rows:
        for other in rows:
            lengths = float(one.norm() * other.norm())
            pairs += float(one @ other) ** 2 / lengths if lengths else 0.0
    return max(1.0, (pairs / taps) ** 0.5), max(1.0, float(torch.linalg.svdvals(rows)[0]))


def _indices(sizes: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return itertools.product(*(range(size) for size in sizes))
