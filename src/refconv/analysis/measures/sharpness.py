"""Sharpness: how much the loss rises around a model, as one number with its spread over directions.

For random, filter-normalised directions d (:mod:`refconv.analysis.directions`) and a relative distance r,

    rise(d) = (L(w + r d) + L(w - r d)) / 2 - L(w)

Both ways are walked, so that the slope cancels: of a quadratic loss, rise(d) = r^2 / 2 d^T H d exactly. Its mean over
directions is r^2 / 2 times the trace of the Hessian in units of filters, which :func:`refconv.analysis.curvature`
estimates by another route. All three losses are taken with batch norms recalibrated.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import nn

from refconv.analysis.batches import Batches, Progress
from refconv.analysis.directions import Values, moved
from refconv.analysis.losses import Loss
from refconv.analysis.measures.landscape import check_radius, shared_directions
from refconv.analysis.probe import Probe, pair_probes
from refconv.analysis.timing import within
from refconv.errors import ModelError, SettingError
from refconv.measures.sharpness import ModelSharpness, Sharpness, Spread


def sharpness(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    calibration: Batches | None = None,
    loss: Loss | None = None,
    radius: float = 0.1,
    directions: int = 10,
    seed: int = 0,
    max_samples: int | None = 1024,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> Sharpness:
    """Measure how sharply the loss rises around two models, over the same random directions.

    Args:
        before: the first model, plain.
        after: the second, of the same architecture.
        batches: what the loss is taken over: (samples, targets) on the models' device, as
            :data:`refconv.analysis.batches.Batches`.
        calibration: what batch-norm statistics are collected on, best training data; the same batches if None.
        loss: of outputs and targets, the mean over a batch; by default cross-entropy.
        radius: how far to go, relative to every filter's norm.
        directions: how many, 2 or more.
        seed: of the directions.
        max_samples: how many samples to take at most; None takes all.
        max_seconds: take fewer samples, as many as this time allows.
        progress: called with (directions done, directions in all), those of both models counted.

    Raises:
        ModelError: if the models differ in architecture, are not plain or not finite, do not fit the loss, or if the
            loss is not finite at that radius.
        DataError: if the batches cannot be used.
        SettingError: if the radius or the number of directions has no meaning.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> data = [(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))]
        >>> sharpness(model, model, data, directions=3).difference.mean
        0.0
    """
    check_radius(radius)
    if directions < 2:
        raise SettingError("no spread", where="directions", expected="2 or more", found=str(directions))
    if max_seconds is not None:
        more: dict[str, Any] = {
            "calibration": calibration,
            "loss": loss,
            "radius": radius,
            "directions": directions,
            "seed": seed,
        }
        again = partial(sharpness, before, after, batches, **more)
        quick = partial(again, directions=2)
        return within(max_seconds, again, max_samples, progress, trial=quick, share=2 / directions)
    probes = pair_probes(before, after, batches, calibration=calibration, loss=loss, max_samples=max_samples)
    found = []
    for index, probe in enumerate(probes):
        as_is, centre = probe.as_is(), _finite(probe, probe.parameters)
        rises = []
        for direction in shared_directions(probe, directions, seed):
            there, back = (_finite(probe, moved(probe.parameters, (x, direction))) for x in (radius, -radius))
            rises.append((there + back) / 2 - centre)
            if progress:
                progress(index * directions + len(rises), 2 * directions)
        found.append(ModelSharpness(as_is, centre, spread(rises)))
    pairs = zip(found[0].rise.values, found[1].rise.values, strict=True)
    difference = spread([second - first for first, second in pairs])
    return Sharpness(radius, found[0], found[1], difference, probes[0].conditions, seed)


def spread(values: Sequence[float]) -> Spread:
    """Return numbers with their mean, deviation and standard error.

    Example:
        >>> found = spread([1.0, 3.0])
        >>> found.mean, round(found.deviation, 3), found.error
        (2.0, 1.414, 1.0)
    """
    numbers = torch.tensor(values, dtype=torch.float64)
    deviation = float(numbers.std())
    return Spread(tuple(values), float(numbers.mean()), deviation, deviation / math.sqrt(len(values)))


def _finite(probe: Probe, parameters: Values) -> float:
    found = probe.at(parameters)
    if found is None:
        raise ModelError(
            "the loss is not finite",
            where=type(probe.model).__name__,
            remedy="take a smaller radius, or other calibration data",
        )
    return found
