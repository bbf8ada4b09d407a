"""R P and its adjoint for blocks of one slice: compiled loops on a CPU, convolutions elsewhere, with derivatives.

Both are linear in each argument, and each is the other's derivative: <R P, g> = <R, g P^T>. So any order of
derivatives by the refocus weight, forward or backward, is one of the two again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from refconv.fused import slices
from refconv.ops.grams import Sizes
from refconv.ops.refocusing import adjoint_by_convolution, refocus_by_convolution


def refocus_slices(weight: Tensor, blocks: Tensor, kernel_size: Sizes, map_size: Sizes, *, add: bool = False) -> Tensor:
    """Return R P [b, 1, k] of single slices, or B + R P if ``add``."""
    if blocks.requires_grad or not slices.fits(kernel_size, map_size, weight, blocks):
        moved = refocus_by_convolution(weight, blocks, kernel_size, map_size)
        return blocks + moved if add else moved
    sizes = tuple(kernel_size), tuple(map_size)
    if not _differentiated(weight):
        return slices.refocused(weight, blocks, *sizes, add=add)
    found: Tensor = _Refocused.apply(weight, blocks, *sizes, add)
    return found


def adjoint_slices(gradient: Tensor, blocks: Tensor, kernel_size: Sizes, map_size: Sizes) -> Tensor:
    """Return g P^T [b, 1, t] of single slices."""
    if blocks.requires_grad or not slices.fits(kernel_size, map_size, gradient, blocks):
        return adjoint_by_convolution(gradient, blocks, kernel_size, map_size)
    sizes = tuple(kernel_size), tuple(map_size)
    if not _differentiated(gradient):
        return slices.adjoint(gradient, blocks, *sizes)
    found: Tensor = _Adjoint.apply(gradient, blocks, *sizes)
    return found


def _differentiated(tensor: Tensor) -> bool:
    """Return whether autograd follows an operation on a tensor, backward or forward."""
    return (tensor.requires_grad and torch.is_grad_enabled()) or forward_ad._current_level >= 0


class _Refocused(torch.autograd.Function):
    """R P or B + R P, whose derivative by R is the adjoint.

    It has no ``setup_context``, with which torch inspects signatures at every call; those who need one, the transforms
    of ``torch.func``, are given convolutions.
    """

    @staticmethod
    def forward(
        ctx: Any, weight: Tensor, blocks: Tensor, kernel_size: tuple[int, ...], map_size: tuple[int, ...], add: bool
    ) -> Tensor:
        ctx.save_for_backward(blocks)
        ctx.save_for_forward(blocks)
        ctx.sizes = kernel_size, map_size
        return slices.refocused(weight, blocks, kernel_size, map_size, add=add)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        return adjoint_slices(gradient, ctx.saved_tensors[0], *ctx.sizes), None, None, None, None

    @staticmethod
    def jvp(ctx: Any, weight: Tensor, *others: None) -> Tensor:
        return refocus_slices(weight, ctx.saved_tensors[0], *ctx.sizes)


class _Adjoint(torch.autograd.Function):
    """g P^T, whose derivative by g is R P."""

    @staticmethod
    def forward(
        ctx: Any, gradient: Tensor, blocks: Tensor, kernel_size: tuple[int, ...], map_size: tuple[int, ...]
    ) -> Tensor:
        ctx.save_for_backward(blocks)
        ctx.save_for_forward(blocks)
        ctx.sizes = kernel_size, map_size
        return slices.adjoint(gradient, blocks, kernel_size, map_size)

    @staticmethod
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, None, None, None]:
        return refocus_slices(weight, ctx.saved_tensors[0], *ctx.sizes), None, None, None

    @staticmethod
    def jvp(ctx: Any, gradient: Tensor, *others: None) -> Tensor:
        return adjoint_slices(gradient, ctx.saved_tensors[0], *ctx.sizes)
