"""The scale of refocusing: how far a step on the refocus weight moves the kernel (docs/math.md, "Scale").

The displacement R P' of a block, P' = P~ G~^((power - 1) / 2), is divided by a number c_A, and the gradient that
reaches R is multiplied by (c_A / c_S)^2. Optimizers that step by the sign of the gradient, such as Adam, see c_A
alone; SGD moves the kernel by g G~^power / c_S^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from refconv.config import Scale
from refconv.ops.grams import Sizes, Spectrum, added, chunks, is_wide, mean_eigenvalue, patches, slices_of

_DEAD = 2.0**-100  #: Blocks whose Gram has eigenvalues of this root mean or less count as zero, for float32's sake


@dataclass(frozen=True)
class Scaling:
    """The scale of every block of a layer, in float64."""

    sign: Tensor  #: c_A [b, 1, 1], by which the displacement R P' is divided
    root: Tensor  #: c_S [b, 1, 1]; gradient space multiplies gradients by G~^power / c_S^2

    @property
    def gain(self) -> Tensor:
        """The factor (c_A / c_S)^2 [b, 1, 1] on the gradient that reaches R."""
        return (self.sign / self.root).square()


def scaling(
    blocks: Tensor, kernel_size: Sizes, map_size: Sizes, *, scale: Scale, power: float = 1.0, damping: float = 0.0
) -> Scaling:
    """Return the scale of refocusing on a base.

    * ``paper``: one everywhere, as released.
    * ``normalized``: c_A = c_S, the root of the mean eigenvalue of G~ to the power, so that the base inside P has a
      damped Gram of mean eigenvalue one.
    * ``capped``: c_S^2 is the largest eigenvalue of G~^power and c_A^2 the bound tr(H^2) / k on the mean square that
      an entry of the kernel moves under a step by signs, where H sums p p^T / |p| over the rows p of P'. Each is taken
      to be one where it is less.

    Blocks of zeros, and those so small that float32 cannot hold their scale, have a scale of one.
    """
    blocks = blocks.double()
    b, m, k = blocks.shape
    if scale == "capped":
        sign, root = torch.empty(2, b, 1, 1, dtype=blocks.dtype, device=blocks.device)
        for part in chunks(b, prod(map_size) * m * k):
            spread, largest = _capped(blocks[part], kernel_size, map_size, power, damping)
            sign[part] = (spread / k).sqrt()[:, None, None]
            root[part] = largest.sqrt()[:, None, None]
        return Scaling(sign.clamp(min=1), root.clamp(min=1))
    ones = torch.ones(b, 1, 1, dtype=blocks.dtype, device=blocks.device)
    if scale == "paper":
        return Scaling(ones, ones)
    root = mean_eigenvalue(blocks, kernel_size, map_size, damping).sqrt()[:, None, None]
    root = torch.where(root > _DEAD, root, ones).pow(power)
    return Scaling(root, root)


def _capped(blocks: Tensor, kernel_size: Sizes, map_size: Sizes, power: float, damping: float) -> tuple[Tensor, Tensor]:
    """Return tr(H^2) [b] and the largest eigenvalue [b] of G~^power; where that is below one, any number up to one."""
    exponent, k = (power - 1) / 2, blocks.shape[-1]
    if is_wide(blocks, map_size):
        unfolded = patches(blocks, kernel_size, map_size)
        found = Spectrum.of_patches(unfolded, damping)
        return _wide_spread(unfolded, found, exponent), torch.cat(found.powers(power), -1).amax(-1)
    more = added(blocks, kernel_size, map_size, damping)
    spectrum = None if power == 1 else Spectrum.of(blocks, kernel_size, map_size, damping)
    shaping = None if spectrum is None else spectrum.matrix(exponent)
    spreads, products = [], []
    for own in slices_of(blocks, map_size):
        rows = patches(blocks[:, own], kernel_size, map_size)
        if shaping is None:
            shorter = rows.mT if rows.shape[1] < k else rows  # P P^T has the same eigenvalues, and zeros
            products.append(shorter.mT @ shorter)
        spreads.append(_spread(rows if shaping is None else rows @ shaping))
    if damping != 0:
        identity = torch.eye(k, dtype=blocks.dtype, device=blocks.device)
        spreads.append(_spread(more.sqrt() * (identity if shaping is None else shaping)))
    spread = sum(spreads[1:], spreads[0]).square().sum((1, 2))
    if spectrum is not None:
        return spread, spectrum.powers(power)[0].amax(-1)
    total = sum(products[1:], products[0])
    largest = total.diagonal(dim1=1, dim2=2).sum(-1)
    above = (largest + more[:, 0, 0] > 1) & largest.isfinite()  # most dense slices are below
    largest[above] = torch.linalg.eigvalsh(total[above])[:, -1]
    return spread, largest + more[:, 0, 0]


def _spread(rows: Tensor) -> Tensor:
    """Return H [b, k, k], the sum of p p^T / |p| over rows p."""
    return rows.mT @ (rows / _lengths(rows))


def _lengths(rows: Tensor) -> Tensor:
    """Return |p| [b, rows, 1], one for rows of zeros."""
    lengths = rows.square().sum(-1, keepdim=True).sqrt()
    return torch.where(lengths > 0, lengths, 1)


def _wide_spread(unfolded: Tensor, spectrum: Spectrum, exponent: float) -> Tensor:
    """Return tr(H^2) [b] for patches of few rows, without a matrix [k, k].

    H is H1 + H2, of the rows p of P G~^exponent and of the k rows of W = sqrt(a) G~^exponent that damping adds, a its
    eigenvalue. With D the lengths of the rows of W on a diagonal, H2 = W D^-1 W, so that

        tr(H^2) = tr(H1^2) + 2 sum of (p W)_i^2 / (|p| D_i) + sum of (W^2)_ij^2 / (D_i D_j),

    and W = w I + V diag(e) V^T, W^2 = w^2 I + V diag(f) V^T.
    """
    rows = spectrum.times(unfolded, exponent)
    roots = rows / _lengths(rows).sqrt()
    found = (roots @ roots.mT).square().sum((1, 2))
    if not bool((spectrum.beyond > 0).any()):
        return found
    vectors, root = spectrum.vectors, spectrum.beyond.sqrt()
    within, beyond = (root * one for one in spectrum.powers(exponent))
    more = within.square() - beyond.square()
    low = (vectors.square() * more[:, None, :]).sum(-1)  # the diagonal of V diag(f) V^T [b, k]
    lengths = (beyond.square() + low).sqrt()
    lengths = torch.where(lengths > 0, lengths, 1)
    crossing = root[:, :, None] * spectrum.times(roots, exponent)
    found = found + 2 * (crossing.square() / lengths[:, None, :]).sum((1, 2))
    found = found + ((beyond**4 + 2 * beyond.square() * low) / lengths.square()).sum(-1)
    inner = (vectors.mT / lengths[:, None, :]) @ vectors * more[:, None, :]
    return found + (inner * inner.mT).sum((1, 2))


def amplified(displacement: Tensor, gain: Tensor) -> Tensor:
    """Return the displacement as it is; the gradient that passes it is multiplied by the gain."""
    chosen = _Amplified if torch.compiler.is_compiling() else _AmplifiedForward
    same: Tensor = chosen.apply(displacement, gain)
    return same


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
