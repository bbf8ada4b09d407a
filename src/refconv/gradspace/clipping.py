"""Clipping gradients by a norm that is that of the refocus weights' gradients where kernels are refocused."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refconv.gradspace.metric import Metric
from refconv.gradspace.sharding import local, sum_of_parts


@torch.no_grad()
def clip_by_norm(
    trained: Sequence[tuple[Tensor, Metric | None]], max_norm: float, *, error_if_nonfinite: bool = False
) -> Tensor:
    """Scale gradients together so that their norm is at most ``max_norm``.

    A refocused kernel with gradient g counts with <g, g G>, the squared norm of g P^T; everything else with <g, g>.

    Args:
        trained: parameters with a gradient, each with its metric if it is a refocused kernel.
        max_norm: the largest norm to leave as it is.
        error_if_nonfinite: raise if the norm is not finite, instead of scaling by it.

    Returns:
        The norm before scaling.

    Raises:
        RuntimeError: if the norm is not finite and that was asked to be an error.
    """
    squares, gradients = [], []
    for parameter, metric in trained:
        assert parameter.grad is not None
        part = local(parameter.grad)
        with torch.autocast(part.device.type, enabled=False):
            square = _square(part) if metric is None else metric.squared_norm(part)
        squares.append(sum_of_parts(square, parameter.grad))
        gradients.append(part)
    if not squares:
        return torch.zeros(())
    norm = torch.stack([square.to(squares[0].device) for square in squares]).sum().clamp(min=0).sqrt()
    if error_if_nonfinite and not bool(norm.isfinite()):
        raise RuntimeError(f"the norm of the gradients is {norm.item()}, so they cannot be clipped")
    factor = (max_norm / (norm + 1e-6)).clamp(max=1.0)  # torch's formula, with its guard against a norm of zero
    for gradient in gradients:
        gradient.mul_(factor.to(gradient.device))
    return norm


def _square(gradient: Tensor) -> Tensor:
    return gradient.to(torch.promote_types(gradient.dtype, torch.float32)).square().sum()
