"""The outermost eigenvalues of a symmetric operator that is known by its products alone: Lanczos.

After j steps, A Q = Q T + beta q e_j^T with Q [n, j] orthonormal and T [j, j] tridiagonal. An eigenvalue theta of T
with eigenvector s lies within |beta s_j| of an eigenvalue of A. Every new vector is made orthogonal to all earlier
ones, twice, so that rounding brings no eigenvalue back as a ghost of itself (Parlett, The symmetric eigenvalue problem,
chapter 13).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class RitzValues:
    """Eigenvalues theta [j] of T, descending, their errors |beta s_j| [j], and the number of products taken."""

    values: Tensor
    errors: Tensor
    steps: int


def lanczos(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    steps: int,
    top: int,
    tolerance: float,
    generator: torch.Generator,
) -> RitzValues:
    """Run Lanczos until the largest eigenvalues are known, or the steps are used up.

    Where an invariant subspace ends the recurrence, it goes on from a new random vector, so that repeated eigenvalues
    are found as often as they occur; then all steps are taken.

    Args:
        product: v [n] -> A v [n], A symmetric.
        start: first vector [n], not zero; the basis, steps * n numbers, has its precision and device.
        steps: products to take at most.
        top: how many of the largest eigenvalues are wanted.
        tolerance: error at which a value is known, relative to the largest magnitude.
        generator: of the CPU, for new vectors.

    Example:
        >>> A = torch.diag(torch.tensor([3.0, 1.0, -2.0], dtype=torch.float64))
        >>> start, generator = torch.ones(3, dtype=torch.float64), torch.Generator()
        >>> lanczos(A.matmul, start, steps=3, top=1, tolerance=0, generator=generator).values.round(decimals=6).tolist()
        [3.0, 1.0, -2.0]
    """
    size = len(start)
    steps = min(steps, size)
    basis = start.new_empty(steps, size)
    alphas: list[float] = []
    betas: list[float] = []
    restarted = False
    vector = start / start.norm()
    while True:
        index = len(alphas)
        basis[index] = vector
        image = product(vector)
        alphas.append(float(vector @ image))
        rest = _orthogonal(image, basis[: index + 1])
        beta = float(rest.norm())
        found = _ritz(alphas, betas, beta)
        scale = float(found.values.abs().max())
        ended = beta <= 10 * torch.finfo(start.dtype).eps * max(scale, float(image.norm()))
        restarted = restarted or ended
        known = len(alphas) >= top and bool((found.errors[:top] <= tolerance * scale).all())
        if len(alphas) == steps or (known and not restarted):
            return found
        if ended:
            drawn = torch.randn(size, generator=generator, dtype=torch.float64).to(start)
            rest, beta = _orthogonal(drawn / drawn.norm(), basis[: index + 1]), 0.0
        betas.append(beta)
        vector = rest / rest.norm()


def _orthogonal(vector: Tensor, basis: Tensor) -> Tensor:
    """Return what of a vector [n] is orthogonal to the rows of a basis [j, n]."""
    for _ in range(2):
        vector = vector - (basis @ vector) @ basis
    return vector


def _ritz(alphas: list[float], betas: list[float], last: float) -> RitzValues:
    off = torch.tensor(betas, dtype=torch.float64)
    T = torch.diag(torch.tensor(alphas, dtype=torch.float64)) + torch.diag(off, 1) + torch.diag(off, -1)
    values, vectors = torch.linalg.eigh(T)
    return RitzValues(values.flip(0), (abs(last) * vectors[-1].abs()).flip(0), len(alphas))
