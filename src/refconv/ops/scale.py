"""The scale of refocusing: how far a step on the refocus weight moves the kernel (docs/math.md, "Scale").

The displacement R P' of a block, P' = P G^((power - 1) / 2), is divided by a number c_A, and the gradient that reaches
R is multiplied by (c_A / c_S)^2. Optimizers that step by the sign of the gradient, such as Adam, see c_A alone; SGD
moves the kernel by g G^power / c_S^2.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from refconv.config import Scale
from refconv.ops.unfolding import Sizes, mean_eigenvalue, patches, shaped_patches

_CHUNK = 2**19  #: Numbers that a chunk may hold beside the kernels; chosen so that they stay in a processor's cache
_DEAD = 2.0**-100
"""A block whose Gram has eigenvalues of this root mean or less counts as zero: its inverse fits into float32."""


@dataclass(frozen=True)
class Scaling:
    """The scale of every block of a layer, in float64."""

    sign: Tensor  #: c_A [b, 1, 1], by which the displacement R P' is divided
    root: Tensor  #: c_S [b, 1, 1]; gradient space multiplies gradients by G^power / c_S^2

    @property
    def gain(self) -> Tensor:
        """The factor (c_A / c_S)^2 [b, 1, 1] on the gradient that reaches R."""
        return (self.sign / self.root).square()


def scaling(blocks: Tensor, kernel_size: Sizes, map_size: Sizes, *, scale: Scale, power: float = 1.0) -> Scaling:
    """Return the scale of refocusing on a base.

    * ``paper``: one everywhere, as released.
    * ``normalized``: c_A = c_S, the root of the mean eigenvalue of G to the power, so that the base inside P has a
      Gram of mean eigenvalue one.
    * ``capped``: c_S^2 is the largest eigenvalue of G^power and c_A^2 the bound tr(H^2) / k on the mean square that
      an entry of the kernel moves under a step by signs, where H sums p p^T / |p| over the rows p of P'. Each is taken
      to be one where it is less.

    Blocks of zeros, and those so small that float32 cannot hold their scale, have a scale of one.
    """
    blocks = blocks.double()
    b, m, k = blocks.shape
    if scale == "capped":
        sign, root = torch.empty(2, b, 1, 1, dtype=blocks.dtype, device=blocks.device)
        for part in chunks(b, prod(map_size) * m * k):
            unfolded = shaped_patches(patches(blocks[part], kernel_size, map_size), power)
            lengths = unfolded.square().sum(-1, keepdim=True).sqrt()
            spread = unfolded.mT @ (unfolded / torch.where(lengths > 0, lengths, 1))
            sign[part] = (spread.square().sum((1, 2), keepdim=True) / k).sqrt()
            root[part] = _largest_eigenvalue(unfolded)[:, None, None].sqrt()
        return Scaling(sign.clamp(min=1), root.clamp(min=1))
    ones = torch.ones(b, 1, 1, dtype=blocks.dtype, device=blocks.device)
    if scale == "paper":
        return Scaling(ones, ones)
    root = mean_eigenvalue(blocks, kernel_size, map_size).sqrt()[:, None, None]
    root = torch.where(root > _DEAD, root, ones).pow(power)
    return Scaling(root, root)


def _largest_eigenvalue(patches: Tensor) -> Tensor:
    """Return the largest eigenvalue [b] of P^T P; where the trace is not above one, any number up to one."""
    found = patches.square().sum((1, 2))
    above = (found > 1) & found.isfinite()  # most dense slices are below
    chosen = patches[above]
    shorter = chosen.mT if chosen.shape[1] < chosen.shape[2] else chosen  # P P^T has the same eigenvalues, and zeros
    found[above] = torch.linalg.eigvalsh(shorter.mT @ shorter)[:, -1]
    return found


def amplified(displacement: Tensor, gain: Tensor) -> Tensor:
    """Return the displacement as it is; the gradient that passes it is multiplied by the gain."""
    chosen = _Amplified if torch.compiler.is_compiling() else _AmplifiedForward
    return chosen.apply(displacement, gain)  # type: ignore[no-any-return]


class _Amplified(torch.autograd.Function):
    """Identity forward, multiplication backward. Without a jvp, with which torch.compile could not trace it."""

    generate_vmap_rule = True

    @staticmethod
    def forward(displacement: Tensor, gain: Tensor) -> Tensor:
        return displacement.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (gain,) = ctx.saved_tensors
        return gradient * gain, None


class _AmplifiedForward(_Amplified):
    """The same with a jvp: forward mode gives the derivative of what forward computes, the identity."""

    @staticmethod
    def jvp(ctx: Any, displacement: Tensor, gain: Tensor | None) -> Tensor:
        return displacement.clone()


def chunks(blocks: int, numbers_per_block: int) -> Iterator[slice]:
    """Cut a number of blocks into runs that need at most a chunk's numbers each, or are single blocks."""
    size = max(1, _CHUNK // numbers_per_block)
    for first in range(0, blocks, size):
        yield slice(first, first + size)
