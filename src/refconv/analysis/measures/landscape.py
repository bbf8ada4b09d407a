"""The loss around two models and between them: along random directions, over a plane, and on the straight line.

Directions d are random and filter-normalised (:mod:`refconv.analysis.probe`; Li et al., arXiv 1712.09913), drawn
once from a seed, so that both models walk along the same pattern, each in units of its own filters' norms. At every
point, the middle included, statistics of batch normalisation are collected anew; beside them stands the loss of the
model as it is, with its own statistics.

Sharpness at a relative distance r is the rise of the loss, its mean and spread over directions:

    rise(d) = (L(w + r d) + L(w - r d)) / 2 - L(w)

Both ways are walked, so that the slope cancels: of a quadratic loss, rise(d) = r^2 / 2 d^T H d exactly. Its mean over
directions is r^2 / 2 times the trace of the Hessian in units of filters, which :func:`refconv.analysis.curvature`
estimates by another route.

Interpolation is L((1 - t) before + t after) for t from 0 to 1, all parameters and buffers interpolated. The barrier is
how far the loss rises above the straight line between its ends (Frankle et al., Linear mode connectivity and the
lottery ticket hypothesis, arXiv 1912.05671; Entezari et al., arXiv 2110.06296, equation 1):

    barrier = max over t of L(t) - ((1 - t) L(0) + t L(1))
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn

from refconv.analysis.batches import Batches, Progress, check_least
from refconv.analysis.probe import Loss, Probe, Values, draw, filter_norms, moved, pair_probes, scaled
from refconv.analysis.timing import timed
from refconv.errors import ModelError, SettingError
from refconv.measures.landscape import Interpolation, LossLine, LossSurface, ModelLine, ModelSurface
from refconv.measures.sharpness import ModelSharpness, Sharpness, Spread

V = TypeVar("V")


@timed(lambda points, **_: points / 3, points=3)
def loss_line(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    calibration: Batches | None = None,
    loss: Loss | None = None,
    radius: float = 1.0,
    points: int = 21,
    seed: int = 0,
    max_samples: int | None = 1024,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> LossLine:
    """Measure the loss of two models along one random, filter-normalised direction.

    Args:
        radius: how far to go either way, relative to every filter's norm.
        points: how many points, odd.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> data = [(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))]
        >>> line = loss_line(model, model, data, points=5)
        >>> line.distances, line.before == line.after, line.before.losses[2] == line.before.as_is
        ((-1.0, -0.5, 0.0, 0.5, 1.0), True, True)
    """
    distances = _distances(radius, points)
    probes = pair_probes(before, after, batches, calibration=calibration, loss=loss, max_samples=max_samples)
    lines = [ModelLine(as_is, losses) for as_is, losses in _around(probes, 1, distances, seed, progress)]
    return LossLine(distances, lines[0], lines[1], probes[0].conditions, seed)


@timed(lambda points, **_: points**2 / 9, points=3)
def loss_surface(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    calibration: Batches | None = None,
    loss: Loss | None = None,
    radius: float = 1.0,
    points: int = 11,
    seed: int = 0,
    max_samples: int | None = 512,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> LossSurface:
    """Measure the loss of two models over the plane of two random, filter-normalised directions.

    Args:
        radius: how far to go along either direction, relative to every filter's norm.
        points: how many points along either direction, odd; the surface has their square.
    """
    distances = _distances(radius, points)
    probes = pair_probes(before, after, batches, calibration=calibration, loss=loss, max_samples=max_samples)
    surfaces = []
    for as_is, losses in _around(probes, 2, distances, seed, progress):
        rows = (losses[first : first + points] for first in range(0, points**2, points))
        surfaces.append(ModelSurface(as_is, tuple(rows)))
    return LossSurface(distances, surfaces[0], surfaces[1], probes[0].conditions, seed)


@timed(lambda directions, **_: directions / 2, directions=2)
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
        radius: how far to go, relative to every filter's norm.
        directions: how many, 2 or more.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> data = [(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))]
        >>> sharpness(model, model, data, directions=3).difference.mean
        0.0
    """
    _check_radius(radius)
    check_least(2, "no spread", directions=directions)
    probes = pair_probes(before, after, batches, calibration=calibration, loss=loss, max_samples=max_samples)
    steps = Steps(progress, 2 * directions)
    found = []
    for probe in probes:
        as_is, centre = probe.as_is(), _finite(probe, probe.parameters)
        rises = []
        for direction in _shared_directions(probe, directions, seed):
            there, back = (_finite(probe, moved(probe.parameters, (x, direction))) for x in (radius, -radius))
            rises.append((there + back) / 2 - centre)
            steps.done(None)
        found.append(ModelSharpness(as_is, centre, spread(rises)))
    pairs = zip(found[0].rise.values, found[1].rise.values, strict=True)
    difference = spread([second - first for first, second in pairs])
    return Sharpness(radius, found[0], found[1], difference, probes[0].conditions, seed)


@timed(lambda points, **_: points / 3, points=3)
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
        points: how many points, the two ends included; 3 or more.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> data = [(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))]
        >>> found = interpolation(model, model, data, points=3)
        >>> found.shares, found.barrier
        ((0.0, 0.5, 1.0), 0.0)
    """
    check_least(3, "nothing between the ends", points=points)
    first, second = pair_probes(before, after, batches, calibration=calibration, loss=loss, max_samples=max_samples)
    steps = Steps(progress, points)
    shares = tuple(step / (points - 1) for step in range(points))
    losses = []
    for t in shares:
        between = _between(first.parameters, second.parameters, t), _between(first.buffers, second.buffers, t)
        losses.append(steps.done(first.at(*between)))
    return Interpolation(shares, tuple(losses), first.as_is(), second.as_is(), _barrier(losses), first.conditions)


def spread(values: Sequence[float]) -> Spread:
    """Return numbers with their mean, deviation and standard error."""
    numbers = torch.tensor(values, dtype=torch.float64)
    deviation = float(numbers.std())
    return Spread(tuple(values), float(numbers.mean()), deviation, deviation / math.sqrt(len(values)))


class Steps:
    """Counts points, directions or products and tells the progress."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def done(self, value: V) -> V:
        """Count one; return its value."""
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)
        return value


def _around(
    probes: Sequence[Probe], count: int, distances: Sequence[float], seed: int, progress: Progress | None
) -> Iterator[tuple[float, tuple[float | None, ...]]]:
    """Yield each model's loss as it is, and its losses at all distances along so many directions, the last quickest."""
    steps = Steps(progress, len(probes) * len(distances) ** count)
    for probe in probes:
        directions = list(_shared_directions(probe, count, seed))
        as_is = probe.as_is()
        places = itertools.product(distances, repeat=count)
        points = (moved(probe.parameters, *zip(place, directions, strict=True)) for place in places)
        yield as_is, tuple(steps.done(probe.at(point)) for point in points)


def _shared_directions(probe: Probe, count: int, seed: int) -> Iterator[Values]:
    """Yield random directions in units of a model's filters; models of one architecture share their patterns."""
    generator = torch.Generator().manual_seed(seed)
    norms = filter_norms(probe.model, probe.parameters)
    for _ in range(count):
        yield scaled(draw(probe.model, probe.parameters, generator), norms)


def _check_radius(radius: float) -> None:
    if not 0 < radius < float("inf"):
        raise SettingError("not a distance", where="radius", expected="a finite number above 0", found=str(radius))


def _distances(radius: float, points: int) -> tuple[float, ...]:
    _check_radius(radius)
    if points < 3 or points % 2 == 0:
        raise SettingError("no point in the middle", where="points", expected="odd, 3 or more", found=str(points))
    half = points // 2
    return tuple(radius * step / half for step in range(-half, half + 1))


def _finite(probe: Probe, parameters: Values) -> float:
    found = probe.at(parameters)
    if found is None:
        remedy = "take a smaller radius, or other calibration data"
        raise ModelError("the loss is not finite", where=type(probe.model).__name__, remedy=remedy)
    return found


def _between(first: Values, second: Values, t: float) -> Values:
    """Return (1 - t) first + t second; whole numbers and switches are those of the nearer end."""

    def mixed(one: Tensor, other: Tensor) -> Tensor:
        if not one.is_floating_point():
            return one if t < 0.5 else other
        return torch.lerp(one, other.to(one), t)  # exact at either end

    return {name: mixed(value, second[name]) for name, value in first.items()}


def _barrier(losses: list[float | None]) -> float | None:
    known = [loss for loss in losses if loss is not None]
    last = len(losses) - 1
    if len(known) <= last:
        return None
    return max(loss - ((last - i) * known[0] + i * known[-1]) / last for i, loss in enumerate(known))
