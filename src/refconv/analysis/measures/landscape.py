"""The loss around two models: along one random direction, or over the plane of two.

After Li et al. (arXiv 1712.09913): directions are random and filter-normalised (:mod:`refconv.analysis.directions`),
drawn once from a seed, so that both models walk along the same pattern, each in units of its own filters' norms. At
every point, the middle included, statistics of batch normalisation are collected anew; beside the curve stands the
loss of the model as it is, with its own statistics.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import nn

from refconv.analysis.batches import Batches, Progress
from refconv.analysis.directions import Values, draw, filter_norms, moved, scaled
from refconv.analysis.losses import Loss
from refconv.analysis.probe import Probe, pair_probes
from refconv.analysis.timing import within
from refconv.errors import SettingError
from refconv.measures.landscape import LossLine, LossSurface, ModelLine, ModelSurface


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
        before: the first model, plain.
        after: the second, of the same architecture.
        batches: what the loss is taken over: (samples, targets) on the models' device, as
            :data:`refconv.analysis.batches.Batches`.
        calibration: what batch-norm statistics are collected on, best training data; the same batches if None.
        loss: of outputs and targets, the mean over a batch; by default cross-entropy.
        radius: how far to go either way, relative to every filter's norm.
        points: how many points, odd.
        seed: of the direction.
        max_samples: how many samples to take at most; None takes all.
        max_seconds: take fewer samples, as many as this time allows.
        progress: called with (points done, points in all).

    Raises:
        ModelError: if the models differ in architecture, are not plain or not finite, or do not fit the loss.
        DataError: if the batches cannot be used.
        SettingError: if the radius or the number of points has no meaning.

    Example:
        >>> model = nn.Linear(2, 3)
        >>> data = [(torch.ones(4, 2), torch.tensor([0, 1, 2, 0]))]
        >>> line = loss_line(model, model, data, points=5)
        >>> line.distances, line.before == line.after, line.before.losses[2] == line.before.as_is
        ((-1.0, -0.5, 0.0, 0.5, 1.0), True, True)
    """
    distances = _distances(radius, points)
    if max_seconds is not None:
        more: dict[str, Any] = {
            "calibration": calibration,
            "loss": loss,
            "radius": radius,
            "points": points,
            "seed": seed,
        }
        again = partial(loss_line, before, after, batches, **more)
        quick = partial(again, points=3)
        return within(max_seconds, again, max_samples, progress, trial=quick, share=3 / points)
    probes = pair_probes(before, after, batches, calibration=calibration, loss=loss, max_samples=max_samples)
    steps = _Steps(progress, 2 * len(distances))
    lines = []
    for probe in probes:
        (direction,) = shared_directions(probe, 1, seed)
        as_is = probe.as_is()
        losses = [steps.done(probe.at(moved(probe.parameters, (x, direction)))) for x in distances]
        lines.append(ModelLine(as_is, tuple(losses)))
    return LossLine(distances, lines[0], lines[1], probes[0].conditions, seed)


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
        before: the first model, plain.
        after: the second, of the same architecture.
        batches: what the loss is taken over: (samples, targets) on the models' device, as
            :data:`refconv.analysis.batches.Batches`.
        calibration: what batch-norm statistics are collected on, best training data; the same batches if None.
        loss: of outputs and targets, the mean over a batch; by default cross-entropy.
        radius: how far to go along either direction, relative to every filter's norm.
        points: how many points along either direction, odd; the surface has their square.
        seed: of the directions.
        max_samples: how many samples to take at most; None takes all.
        max_seconds: take fewer samples, as many as this time allows.
        progress: called with (points done, points in all).

    Raises:
        ModelError: if the models differ in architecture, are not plain or not finite, or do not fit the loss.
        DataError: if the batches cannot be used.
        SettingError: if the radius or the number of points has no meaning.
    """
    distances = _distances(radius, points)
    if max_seconds is not None:
        more: dict[str, Any] = {
            "calibration": calibration,
            "loss": loss,
            "radius": radius,
            "points": points,
            "seed": seed,
        }
        again = partial(loss_surface, before, after, batches, **more)
        quick = partial(again, points=3)
        return within(max_seconds, again, max_samples, progress, trial=quick, share=9 / points**2)
    probes = pair_probes(before, after, batches, calibration=calibration, loss=loss, max_samples=max_samples)
    steps = _Steps(progress, 2 * len(distances) ** 2)
    surfaces = []
    for probe in probes:
        first, second = shared_directions(probe, 2, seed)
        as_is = probe.as_is()
        rows = [
            tuple(steps.done(probe.at(moved(probe.parameters, (x, first), (y, second)))) for y in distances)
            for x in distances
        ]
        surfaces.append(ModelSurface(as_is, tuple(rows)))
    return LossSurface(distances, surfaces[0], surfaces[1], probes[0].conditions, seed)


def shared_directions(probe: Probe, count: int, seed: int) -> Iterator[Values]:
    """Yield random directions in units of a model's filters; models of one architecture share their patterns.

    Args:
        probe: of the model.
        count: how many directions.
        seed: that they are drawn from, one after the other.
    """
    generator = torch.Generator().manual_seed(seed)
    norms = filter_norms(probe.model, probe.parameters)
    for _ in range(count):
        yield scaled(draw(probe.model, probe.parameters, generator), norms)


def check_radius(radius: float) -> None:
    """Check that a relative distance can be walked.

    Raises:
        SettingError: if it is not above zero and finite.
    """
    if not 0 < radius < float("inf"):
        raise SettingError("not a distance", where="radius", expected="a finite number above 0", found=str(radius))


class _Steps:
    """Counts points and says so."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def done(self, value: float | None) -> float | None:
        """Count a point; return its value."""
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)
        return value


def _distances(radius: float, points: int) -> tuple[float, ...]:
    check_radius(radius)
    if points < 3 or points % 2 == 0:
        raise SettingError("no point in the middle", where="points", expected="odd, 3 or more", found=str(points))
    half = points // 2
    return tuple(radius * step / half for step in range(-half, half + 1))
