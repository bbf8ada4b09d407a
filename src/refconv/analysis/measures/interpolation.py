"""The loss on the straight line between two models.

L((1 - t) before + t after) for t from 0 to 1, all parameters and buffers interpolated, batch norms recalibrated at
every point. The barrier is how far the loss rises above the straight line between its ends (Frankle et al., Linear mode
connectivity and the lottery ticket hypothesis, arXiv 1912.05671; Entezari et al., arXiv 2110.06296, equation 1):

    barrier = max over t of L(t) - ((1 - t) L(0) + t L(1))
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from refconv.analysis.batches import Batches, Progress
from refconv.analysis.directions import Values
from refconv.analysis.losses import Loss
from refconv.analysis.probe import pair_probes
from refconv.analysis.timing import within
from refconv.errors import SettingError
from refconv.measures.landscape import Interpolation


def interpolation(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    calibration: Batches | None = None,
    loss: Loss | None = None,
    points: int = 11,
    max_samples: int | None = 1024,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> Interpolation:
    """Measure the loss on the straight line from one model to the other.

    Args:
        before: the first model, plain.
        after: the second, of the same architecture.
        batches: what the loss is taken over: (samples, targets) on the models' device, as
            :data:`refconv.analysis.batches.Batches`.
        calibration: what batch-norm statistics are collected on, best training data; the same batches if None.
        loss: of outputs and targets, the mean over a batch; by default cross-entropy.
        points: how many points, the two ends included; 3 or more.
        max_samples: how many samples to take at most; None takes all.
        max_seconds: take fewer samples, as many as this time allows.
        progress: called with (points done, points in all).

    Raises:
        ModelError: if the models differ in architecture, are not plain or not finite, or do not fit the loss.
        DataError: if the batches cannot be used.
        SettingError: if there are too few points.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> data = [(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))]
        >>> found = interpolation(model, model, data, points=3)
        >>> found.shares, found.barrier
        ((0.0, 0.5, 1.0), 0.0)
    """
    if points < 3:
        raise SettingError("nothing between the ends", where="points", expected="3 or more", found=str(points))
    if max_seconds is not None:
        again = partial(interpolation, before, after, batches, calibration=calibration, loss=loss, points=points)
        quick = partial(again, points=3)
        return within(max_seconds, again, max_samples, progress, trial=quick, share=3 / points)
    first, second = pair_probes(before, after, batches, calibration=calibration, loss=loss, max_samples=max_samples)
    shares = tuple(step / (points - 1) for step in range(points))
    losses = []
    for t in shares:
        losses.append(
            first.at(_between(first.parameters, second.parameters, t), _between(first.buffers, second.buffers, t))
        )
        if progress:
            progress(len(losses), points)
    return Interpolation(shares, tuple(losses), first.as_is(), second.as_is(), _barrier(losses), first.conditions)


def _between(first: Values, second: Values, t: float) -> Values:
    """Return (1 - t) first + t second; whole numbers and switches are those of the nearer end."""

    def mixed(one: Tensor, other: Tensor) -> Tensor:
        if not one.is_floating_point():
            return one if t < 0.5 else other
        return torch.lerp(one, other.to(one), t)  # exact at either end

    return {name: mixed(value, second[name]) for name, value in first.items()}


def _barrier(losses: list[float | None]) -> float | None:
    known = [loss for loss in losses if loss is not None]
    if len(known) < len(losses):
        return None
    last = len(known) - 1
    return max(loss - ((last - i) * known[0] + i * known[-1]) / last for i, loss in enumerate(known))
