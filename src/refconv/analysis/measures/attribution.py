"""Which part of the input a layer's map looks at: Grad-CAM of two classifiers, and the effective receptive field.

Grad-CAM (Selvaraju et al., ICCV 2017, arXiv 1610.02391): with A [channels, height, width] a layer's map and y the
output of one class before softmax,

    alpha[channel] = mean over positions of dy / dA[channel, position],    map = max(0, sum_channel alpha A),

here of the sample's own class in both models, whichever class they name, and divided by its largest value: maps of two
models compare in shape, not in strength. A map of zeros says that nothing in the layer speaks for the class. Images are
classified by both models and drawn in turns from those that only the second model gets right, those that only the first
does, the same two again, those that both get wrong and those that both get right.

Grad-CAM++ (Chattopadhay et al., WACV 2018, arXiv 1710.11063, equation 19) weighs positions: of y -> exp(y) and maps
A >= 0 the higher derivatives are powers of the gradient g = dy/dA, so that with rectified maps

    alpha[channel] = sum over positions of max(0, g) / (2 + g sum over positions of A).

Effective receptive field (Luo et al., NeurIPS 2016, arXiv 1701.04128): with u the central unit of a layer's output map,
summed over channels,

    A[position] = mean over samples, sum over input channels of |du / dx[channel, position]|.

Of a single convolution of one output channel, A is the absolute value of its kernel. The field is found to be much
smaller than what the unit could see, and near Gaussian: with A of standard deviation s, the share q of the energy A^2
lies within the radius s sqrt(-ln(1 - q)) of its centre.
"""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.conv import _ConvNd

from refconv.analysis.answers import scores
from refconv.analysis.batches import Batches, Passage, Progress, check_least, classify, observing, run
from refconv.analysis.measures.robustness import check_images, valid_range
from refconv.analysis.timing import timed
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.features import AttendedImage, Attention, ReceptiveField
from refconv.measures.tables import times

LARGEST = 96  # pixels of the longer side of a picture in the record
SHARES = (0.5, 0.9, 0.99)
THRESHOLD = 1 - 0.9545  # of the largest A: what counts as inside, as Luo et al. draw the line (two standard deviations)
_WHOLE = "(the model itself)"
_TURNS = (0, 1, 0, 1, 2, 3)  # gained, lost, gained, lost, wrong in both, right in both


@timed(answers=True)
def attention(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    mean: Sequence[float],
    std: Sequence[float],
    layer: str | None = None,
    shown: int = 12,
    seed: int = 0,
    max_samples: int | None = 2048,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> Attention:
    """Find what of some images of one or three channels speaks for their class in two classifiers.

    Args:
        layer: name of a module with an output map, in both models; by default the last convolution of each to run whose
            map has more than one position.
        shown: how many of ``max_samples`` images to show at most.
    """
    check_least(1, shown=shown)
    models = (before, after)
    passage = Passage(batches, max_samples, progress)
    with observing(*models), torch.no_grad():
        targets, classes, confidences = _named(models, passage)
        places = _chosen(targets, classes, shown, seed)
        images = _picked(passage, places)
        check_images(images)
        pictures = _pictures(images, mean, std)
        layers = [last_map(model, images) if layer is None else layer for model in models]
        chosen = targets[places].to(images.device)
        maps = [grad_cam(model, images, chosen, name) for model, name in zip(models, layers, strict=True)]
    attended = []
    for place, picture, *found in zip(places, pictures, *maps, strict=True):
        said = (int(targets[place]), int(classes[0][place]), int(classes[1][place]))
        sure = (float(confidences[0][place]), float(confidences[1][place]))
        pixels = base64.b64encode(picture.numpy().tobytes()).decode("ascii")
        height, width, channels = picture.shape
        rows = (tuple(tuple(round(value, 3) for value in row) for row in one.tolist()) for one in found)
        attended.append(AttendedImage(place, *said, *sure, pixels, (height, width, channels), *rows))
    first, second = (name or _WHOLE for name in layers)
    return Attention(len(targets), passage.cut, first, second, tuple(attended), seed)


@timed()
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
    """Measure the effective receptive field of a layer's central unit.

    Samples are [batch, channels, *spatial] of one size, with one to three spatial dimensions; targets do not matter.

    Args:
        layer: name of a module with an output map; by default the last convolution to run whose map has more than one
            position, so the last stage of a classifier.
        shares: of the energy, between 0 and 1.
        max_map: pixels per dimension of the record's picture at most.

    Example:
        >>> conv = nn.Conv2d(1, 1, 3, bias=False)
        >>> found = receptive_field(conv, [(torch.randn(2, 1, 9, 9), torch.zeros(2, dtype=torch.long))])
        >>> found.extent, found.unit, found.input_shape
        ((3, 3), (3, 3), (9, 9))
    """
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
    about = {"map_shape": map_shape, "unit": _middle(map_shape), "samples": passage.samples, "cut": passage.cut}
    return _record((total / passage.samples).cpu(), shares, max_map, layer=layer or _WHOLE, **about)


def grad_cam(model: nn.Module, images: Tensor, targets: Tensor, layer: str, *, plus: bool = False) -> Tensor:
    """Return the maps [batch, height, width] of a layer that speak for given classes, each divided by its largest.

    ``plus`` weighs positions as Grad-CAM++ does.
    """
    return cam(*map_and_slope(model, images, targets, layer), plus=plus)


def map_and_slope(model: nn.Module, images: Tensor, targets: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Return a layer's map [batch, channels, height, width], and the gradient of the outputs of given classes by it."""
    inputs = images.detach().clone().requires_grad_(True)  # also where the model's weights are frozen
    with torch.enable_grad(), recording({layer: module_named(model, layer)}, images.ndim) as maps:
        outputs = classify(model, inputs, targets)
        features = maps.get(layer)
        if features is None or len(features) != len(images):
            raise ModelError("the layer gives no map", where=layer or type(model).__name__, expected="a map per image")
        scores = outputs.gather(1, targets.long()[:, None]).sum()
        (slope,) = torch.autograd.grad(scores, features, allow_unused=True)
    if slope is None:
        raise ModelError("no class depends on the layer", where=layer or type(model).__name__)
    return features.detach(), slope


def cam(features: Tensor, slope: Tensor, *, plus: bool = False) -> Tensor:
    """Return the map of :func:`grad_cam` that a layer's map and its gradient [batch, channels, height, width] give."""
    weights = _plus_weights(features, slope) if plus else slope.mean((2, 3), keepdim=True)
    found = (weights * features).sum(1).double().clamp(min=0)
    largest = found.flatten(1).max(1).values
    return found / torch.where(largest > 0, largest, 1)[:, None, None]


def _plus_weights(features: Tensor, slope: Tensor) -> Tensor:
    """Return the weights of channels [batch, channels, 1, 1] of Grad-CAM++ from a map and its gradient."""
    positive = slope.clamp(min=0)
    whole = features.clamp(min=0).sum((2, 3), keepdim=True)
    return (positive / (2 + whole * positive)).sum((2, 3), keepdim=True)


def _named(models: Sequence[nn.Module], passage: Passage) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return the targets [n], and per model the classes [n] that it names and their softmax outputs [n]."""
    parts = []
    for outputs, labels in scores(passage, *models):
        largest = [one.softmax(1).max(1) for one in outputs]
        parts.append([labels.long(), *(found.indices for found in largest), *(found.values for found in largest)])
    targets, *found = (torch.cat([value.cpu() for value in part]) for part in zip(*parts, strict=True))
    return targets, found[: len(models)], found[len(models) :]


def _chosen(targets: Tensor, classes: Sequence[Tensor], shown: int, seed: int) -> list[int]:
    """Return the places of the images to show, by group: gained, lost, wrong in both, right in both."""
    before, after = (named == targets for named in classes)
    generator = torch.Generator().manual_seed(seed)
    groups = []
    for members in (after & ~before, before & ~after, ~before & ~after, before & after):
        places = members.nonzero()[:, 0]
        groups.append(places[torch.randperm(len(places), generator=generator)].tolist())
    taken: list[list[int]] = [[] for _ in groups]
    count = min(shown, len(targets))
    turns = itertools.cycle(_TURNS)
    while sum(map(len, taken)) < count:
        turn = next(turns)
        if groups[turn]:
            taken[turn].append(groups[turn].pop())
    return [place for group in taken for place in sorted(group)]


def _picked(passage: Passage, places: Sequence[int]) -> Tensor:
    """Return the samples [n, channels, height, width] at these places, from another pass."""
    found: dict[int, Tensor] = {}
    last = max(places)
    for samples, _ in passage:
        first = passage.samples
        found |= {place: samples[place - first] for place in places if first <= place < first + len(samples)}
        if last in found:
            break
    if len({image.shape for image in found.values()}) > 1:
        raise DataError("the images differ in size", remedy="bring them to one size")
    return torch.stack([found[place] for place in places])


def _pictures(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> list[Tensor]:
    """Return images as bytes [height, width, channels], at most 96 pixels a side."""
    if images.shape[1] not in {1, 3}:
        raise DataError("pictures have one channel or three", found=f"{images.shape[1]} channels")
    low, _, scale = valid_range(images, mean, std)
    pixels = ((images - low) / scale).float()
    longest = max(pixels.shape[2:])
    if longest > LARGEST:
        size = [max(1, round(side * LARGEST / longest)) for side in pixels.shape[2:]]
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return list((pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu())


def _influence(model: nn.Module, samples: Tensor, layer: str) -> tuple[Tensor, tuple[int, ...]]:
    """Return the sum over samples of A [*spatial] in float64, and the shape of the layer's map."""
    with torch.enable_grad():
        moved = samples.detach().clone().requires_grad_(True)
        with recording({layer: module_named(model, layer)}, samples.ndim) as maps:
            run(model, moved)
        output = maps.get(layer)
        if output is None or len(output) != len(samples):
            expected = f"an output [batch, channels, {', '.join(['size'] * (samples.ndim - 2))}]"
            raise ModelError("the layer gives no map", where=layer or type(model).__name__, expected=expected)
        place: Any = (..., *_middle(output.shape[2:]))
        unit = output[place].sum()
        (gradient,) = torch.autograd.grad(unit, moved, allow_unused=True) if unit.requires_grad else (None,)
    if gradient is None:
        raise ModelError("nothing of the input moves the layer", where=layer or type(model).__name__)
    return gradient.double().abs().sum((0, 1)), tuple(output.shape[2:])


def _middle(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size // 2 for size in shape)


def _check(samples: Tensor, total: Tensor | None) -> None:
    if samples.ndim not in {3, 4, 5} or not samples.is_floating_point():
        expected, found = "samples [batch, channels, ...] of one to three spatial dimensions", list(samples.shape)
        raise DataError("there is no field to measure", expected=expected, found=f"{samples.dtype} {found}")
    if total is not None and total.shape != samples.shape[2:]:
        sizes = {"expected": times(total.shape), "found": times(samples.shape[2:])}
        raise DataError("the samples differ in size", **sizes, remedy="bring them to one size")


def _record(field: Tensor, shares: Sequence[float], max_map: int, **about: Any) -> ReceptiveField:
    if not bool(torch.isfinite(field).all()) or float(field.max()) == 0:
        remedy = "give samples that the model was trained for, or another layer"
        raise ModelError("the layer's gradients are all zero or not finite", where=about["layer"], remedy=remedy)
    field = field / field.max()
    energy = field.square() / field.square().sum()
    axes = [torch.arange(size, dtype=torch.float64) for size in field.shape]
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij"))
    centre = (grid * energy).flatten(1).sum(1)
    distances = (grid - centre.reshape(-1, *[1] * field.ndim)).square().sum(0).sqrt().flatten()
    shape = tuple(min(size, max_map) for size in field.shape)
    small = getattr(F, f"adaptive_avg_pool{field.ndim}d")(field[None, None], shape)[0, 0]
    ordered = tuple(sorted(map(float, shares)))
    order = distances.argsort(stable=True)
    reached = energy.flatten()[order].cumsum(0)
    bounds = [share * (1 - math.ulp(1.0) * energy.numel()) for share in ordered]
    return ReceptiveField(
        input_shape=tuple(field.shape),
        shares=ordered,
        radii=tuple(float(distances[order][int((reached >= share).int().argmax())]) for share in bounds),
        centre=tuple(centre.tolist()),
        side=int((field > THRESHOLD).sum()) ** (1 / field.ndim),
        extent=tuple(int(places.max() - places.min()) + 1 for places in field.nonzero().T),
        values=tuple(small.flatten().tolist()),
        values_shape=tuple(small.shape),
        **about,
    )


@contextmanager
def recording(modules: Mapping[str, nn.Module], dimensions: int) -> Iterator[dict[str, Tensor]]:
    """Record the output maps of some modules while a model runs, in the order in which they run.

    Of a module that runs several times, the last output; none of outputs that are not one tensor of so many dimensions,
    batch and channels counted. Later layers get a copy, so that none can change a map in place.
    """
    maps: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> Any:
        if not isinstance(output, Tensor) or output.ndim != dimensions:
            return output
        maps.pop(name, None)  # the last call is the one that counts, also in the order
        maps[name] = output
        return output.clone()

    with ExitStack() as stack:
        for name, module in modules.items():
            handle = module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
            stack.callback(handle.remove)
        yield maps


def last_map(model: nn.Module, samples: Tensor) -> str:
    """Return the name of the last convolution to run whose map has more than one position; the first sample is run."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    convolutions = {name: module for name, module in modules.items() if isinstance(module, _ConvNd)}
    with torch.no_grad(), recording(convolutions, samples.ndim) as maps:
        run(model, samples[:1])
    names = [name for name, output in maps.items() if output.shape[2:].numel() > 1]
    if not names:
        problem, remedy = "no convolution gives a map of more than one position", "give larger samples, or name a layer"
        raise ModelError(problem, where=type(model).__name__, remedy=remedy)
    return names[-1]


def module_named(model: nn.Module, layer: str) -> nn.Module:
    """Return a module by name."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if layer not in modules:
        raise ModelError("there is no such layer", where=layer, remedy="take a name of model.named_modules()")
    return modules[layer]
