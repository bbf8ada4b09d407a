"""Adversarial perturbations: the fast gradient sign method and projected gradient descent.

Both look for samples within a ball of the largest norm around the given ones on which the loss L is larger:

* FGSM (Goodfellow et al., ICLR 2015, arXiv 1412.6572): x' = clamp(x + e sign(dL/dx));
* PGD (Madry et al., ICLR 2018, arXiv 1706.06083): from a random point of the ball, steps x <- x + a sign(dL/dx), each
  brought back into the ball and the valid range.

``radius``, ``low`` and ``high`` are tensors that broadcast against samples: a ball of radius e in pixels is one of
radius e / std per channel in normalised samples.

Note [Why not captum's FGSM and PGD]: they take gradient entries under 1e-6 for zero, which leaves the samples that the
model is surest of unattacked (its loss has nearly no slope there) and makes overconfident models look robust; their
random start draws from the global generator; they warn at every step. The tests compare with them, threshold off.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.analysis.batches import classify


def fgsm(model: nn.Module, samples: Tensor, targets: Tensor, *, radius: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return samples [batch, channels, ...] moved by one signed gradient step, of a classifier in eval mode."""
    return clamped(samples + radius * gradient_sign(model, samples, targets), low, high)


def pgd(
    model: nn.Module,
    samples: Tensor,
    targets: Tensor,
    *,
    radius: Tensor,
    low: Tensor,
    high: Tensor,
    steps: int,
    start: Tensor,
    step_size: float | None = None,
) -> Tensor:
    """Return samples moved by several signed gradient steps inside the ball.

    ``start`` is the first point, as shares of the radius from -1 to 1; ``step_size`` of one step, as a share of the
    radius, by default 2.5 / steps, as Madry et al. take it.
    """
    step = radius * (2.5 / steps if step_size is None else step_size)
    moved = clamped(samples + radius * start, low, high)
    for _ in range(steps):
        moved = moved + step * gradient_sign(model, moved, targets)
        moved = clamped(clamped(moved, samples - radius, samples + radius), low, high)
    return moved


def gradient_sign(model: nn.Module, samples: Tensor, targets: Tensor) -> Tensor:
    """Return the sign of each sample's gradient of its own cross-entropy, without touching the model's gradients.

    The loss is computed in float64, where the slope of a very sure output is not rounded to zero.
    """
    with torch.enable_grad():
        moved = samples.detach().clone().requires_grad_(True)
        losses = F.cross_entropy(classify(model, moved, targets), targets.long(), reduction="none")
        (gradient,) = torch.autograd.grad(losses.sum(), moved)
    return gradient.sign()


def clamped(values: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return values brought between two bounds that broadcast."""
    return torch.minimum(torch.maximum(values, low), high)
