"""R P and its adjoint for blocks of one slice: compiled loops on a CPU, convolutions elsewhere, with derivatives.

Both are linear in each argument, and each is the other's derivative: <R P, g> = <R, g P^T>. So any order of
derivatives by the refocus weight, forward or backward, is one of the two again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from refconv.fused import slices
from refconv.ops.grams import Sizes
from refconv.ops.refocusing import adjoint_by_convolution, refocus_by_convolution


def refocus_slices(weight: Tensor, blocks: Tensor, kernel_size: Sizes, map_size: Sizes, *, add: bool = False) -> Tensor:
    """Return R P [b, 1, k] of single slices, or B + R P if ``add``."""
    if not blocks.requires_grad and slices.fits(kernel_size, map_size, weight, blocks):
        found: Tensor = _Refocused.apply(weight, blocks, tuple(kernel_size), tuple(map_size), add)
        return found
    moved = refocus_by_convolution(weight, blocks, kernel_size, map_size)
    return blocks + moved if add else moved


def adjoint_slices(gradient: Tensor, blocks: Tensor, kernel_size: Sizes, map_size: Sizes) -> Tensor:
    """Return g P^T [b, 1, t] of single slices."""
    if not blocks.requires_grad and slices.fits(kernel_size, map_size, gradient, blocks):
        found: Tensor = _Adjoint.apply(gradient, blocks, tuple(kernel_size), tuple(map_size))
        return found
    return adjoint_by_convolution(gradient, blocks, kernel_size, map_size)


class _Half(torch.autograd.Function):
    """A function of (given, blocks, kernel_size, map_size), linear in what is given but for what is added to it."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])
        ctx.sizes = inputs[2:4]


class _Refocused(_Half):
    @staticmethod
    def forward(
        given: Tensor, blocks: Tensor, kernel_size: tuple[int, ...], map_size: tuple[int, ...], add: bool
    ) -> Tensor:
        return slices.refocused(given, blocks, kernel_size, map_size, add=add)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        return adjoint_slices(gradient, ctx.saved_tensors[0], *ctx.sizes), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, given: Tensor, *others: None) -> Tensor:
        return refocus_slices(given, ctx.saved_tensors[0], *ctx.sizes)


class _Adjoint(_Half):
    @staticmethod
    def forward(given: Tensor, blocks: Tensor, *sizes: tuple[int, ...]) -> Tensor:
        return slices.adjoint(given, blocks, *sizes)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        return refocus_slices(gradient, ctx.saved_tensors[0], *ctx.sizes), None, None, None

    @staticmethod
    def jvp(ctx: Any, given: Tensor, *others: None) -> Tensor:
        return adjoint_slices(given, ctx.saved_tensors[0], *ctx.sizes)
