"""The effective receptive field: which part of the input moves one unit of a feature map, and how far out.

Luo et al., NeurIPS 2016 (arXiv 1701.04128): with u the central unit of a layer's output map, summed over channels,

    A[position] = mean over samples, sum over input channels of |du / dx[channel, position]|.

Of a single convolution of one output channel, A is the absolute value of its kernel. The field is found to be much
smaller than what the unit could see, and near Gaussian: with A of standard deviation s, the share q of the energy A^2
lies within the radius s sqrt(-ln(1 - q)) of its centre.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.analysis.batches import Batches, Passage, Progress, observing, run
from refconv.analysis.maps import last_map, module_named, recording
from refconv.analysis.timing import within
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.features import ReceptiveField
from refconv.measures.tables import times

SHARES = (0.5, 0.9, 0.99)
THRESHOLD = 1 - 0.9545
"""Of the largest A: what counts as inside, as Luo et al. draw the line (two standard deviations)."""

_POOLS: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}


def receptive_field(
    model: nn.Module,
    batches: Batches,
    *,
    layer: str | None = None,
    shares: Sequence[float] = SHARES,
    max_samples: int | None = 64,
    max_seconds: float | None = None,
    max_map: int = 64,
    progress: Progress | None = None,
) -> ReceptiveField:
    """Measure the effective receptive field of a layer's central unit; the model is left as found.

    Args:
        model: any model of samples with one to three spatial dimensions.
        batches: samples [batch, channels, *spatial] of one size, as the model expects them; the targets are not looked
            at.
        layer: name of a module with an output map; by default the last convolution to run whose map has more than one
            position, so the last stage of a classifier.
        shares: of the energy, between 0 and 1.
        max_samples: samples to stop at.
        max_seconds: take fewer samples, as many as this time allows.
        max_map: pixels per dimension of the record's picture at most.
        progress: called with samples done and in all.

    Raises:
        DataError: if there are no samples, they have no spatial dimensions, or sizes that differ.
        ModelError: if there is no such layer or map, or nothing of the input moves it.
        SettingError: if shares are not between 0 and 1, or ``max_map`` is not positive.

    Example:
        >>> conv = nn.Conv2d(1, 1, 3, bias=False)
        >>> found = receptive_field(conv, [(torch.randn(2, 1, 9, 9), torch.zeros(2, dtype=torch.long))])
        >>> found.extent, found.unit, found.input_shape
        ((3, 3), (3, 3), (9, 9))
    """
    if max_seconds is not None:
        again = partial(receptive_field, model, batches, layer=layer, shares=shares, max_map=max_map)
        return within(max_seconds, again, max_samples, progress)
    if not shares or min(shares) <= 0 or max(shares) >= 1 or max_map < 1:
        found = f"shares {tuple(shares)}, max_map {max_map}"
        raise SettingError("cannot measure this", expected="shares between 0 and 1, max_map 1 or more", found=found)
    total: Tensor | None = None
    passage = Passage(batches, max_samples, progress)
    with observing(model):
        for samples, _ in passage:
            _check(samples, total)
            if layer is None:
                layer = last_map(model, samples)
            influence, map_shape = _influence(model, samples, layer)
            total = influence if total is None else total + influence
    assert total is not None  # a passage without samples is refused
    assert layer is not None
    return _record(
        (total / passage.samples).cpu(),
        shares,
        max_map,
        layer=layer or "(the model itself)",
        map_shape=map_shape,
        unit=_middle(map_shape),
        samples=passage.samples,
        cut=passage.cut,
    )


def _influence(model: nn.Module, samples: Tensor, layer: str) -> tuple[Tensor, tuple[int, ...]]:
    """Return the sum over samples of A [*spatial] in float64, and the shape of the layer's map.

    Raises:
        ModelError: if there is no such layer, it gives no map, or the input does not move it.
    """
    module = module_named(model, layer)
    with torch.enable_grad():
        moved = samples.detach().clone().requires_grad_(True)
        with recording({layer: module}, samples.ndim) as maps:
            run(model, moved)
        output = maps.get(layer)
        if output is None or len(output) != len(samples):
            raise ModelError(
                "the layer gives no map",
                where=layer or type(model).__name__,
                expected=f"an output [batch, channels, {', '.join(['size'] * (samples.ndim - 2))}]",
            )
        place: Any = (..., *_middle(output.shape[2:]))
        unit = output[place].sum()
        (gradient,) = torch.autograd.grad(unit, moved, allow_unused=True) if unit.requires_grad else (None,)
    if gradient is None:
        raise ModelError("nothing of the input moves the layer", where=layer or type(model).__name__)
    return gradient.double().abs().sum((0, 1)), tuple(output.shape[2:])


def _middle(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size // 2 for size in shape)


def _check(samples: Tensor, total: Tensor | None) -> None:
    if samples.ndim - 2 not in _POOLS or not samples.is_floating_point():
        raise DataError(
            "there is no field to measure",
            expected="samples [batch, channels, ...] of one to three spatial dimensions",
            found=f"{samples.dtype} {list(samples.shape)}",
        )
    if total is not None and total.shape != samples.shape[2:]:
        raise DataError(
            "the samples differ in size",
            expected=times(total.shape),
            found=times(samples.shape[2:]),
            remedy="bring them to one size",
        )


def _record(field: Tensor, shares: Sequence[float], max_map: int, **about: Any) -> ReceptiveField:
    if not bool(torch.isfinite(field).all()) or float(field.max()) == 0:
        raise ModelError(
            "the layer's gradients are all zero or not finite",
            where=about["layer"],
            remedy="give samples that the model was trained for, or another layer",
        )
    field = field / field.max()
    energy = field.square() / field.square().sum()
    axes = [torch.arange(size, dtype=torch.float64) for size in field.shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    centre = (grid * energy).flatten(1).sum(1)
    distances = (grid - centre.reshape(-1, *[1] * field.ndim)).square().sum(0).sqrt().flatten()
    shape = tuple(min(size, max_map) for size in field.shape)
    small = _POOLS[field.ndim](field[None, None], shape)[0, 0]
    ordered = tuple(sorted(map(float, shares)))
    return ReceptiveField(
        input_shape=tuple(field.shape),
        shares=ordered,
        radii=tuple(_radius(distances, energy.flatten(), share) for share in ordered),
        centre=tuple(centre.tolist()),
        side=int((field > THRESHOLD).sum()) ** (1 / field.ndim),
        extent=tuple(int(places.max() - places.min()) + 1 for places in field.nonzero().T),
        values=tuple(small.flatten().tolist()),
        values_shape=tuple(small.shape),
        **about,
    )


def _radius(distances: Tensor, energy: Tensor, share: float) -> float:
    order = distances.argsort(stable=True)
    reached = energy[order].cumsum(0) >= share * (1 - math.ulp(1.0) * len(energy))
    return float(distances[order][int(reached.int().argmax())])
