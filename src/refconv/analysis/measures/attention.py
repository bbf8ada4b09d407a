"""Attention: which part of an image speaks for its class, by Grad-CAM, in two classifiers side by side.

Selvaraju et al., ICCV 2017 (arXiv 1610.02391): with A [channels, height, width] a layer's map and y the output of one
class before softmax,

    alpha[channel] = mean over positions of dy / dA[channel, position],    map = max(0, sum_channel alpha A),

here of the sample's own class in both models, whichever class they name, and divided by its largest value: maps of two
models compare in shape, not in strength. A map of zeros says that nothing in the layer speaks for the class.

Which images: they are classified by both models and drawn in turns from those that only the second model gets right,
those that only the first does, the same two again, those that both get wrong and those that both get right.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.analysis.batches import Batches, Passage, Progress, classify, observing
from refconv.analysis.maps import last_map, module_named, recording
from refconv.analysis.pixels import check_images, valid_range
from refconv.analysis.timing import within
from refconv.errors import DataError, ModelError, SettingError
from refconv.measures.features import AttendedImage, Attention

LARGEST = 96
"""Pixels of the longer side of a picture in the record."""

_WHOLE = "(the model itself)"
_TURNS = (0, 1, 0, 1, 2, 3)  # gained, lost, gained, lost, wrong in both, right in both


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
    """Find what of some images speaks for their class in two classifiers; both are left as found.

    Args:
        before: the first classifier.
        after: the second, of the same classes.
        batches: normalised images [batch, channels, height, width] of one or three channels, and classes.
        mean: per channel, of the normalisation: sample = (pixel - mean) / std.
        std: per channel.
        layer: name of a module with an output map, in both models; by default the last convolution of each to run whose
            map has more than one position.
        shown: how many images to show at most.
        seed: of the choice.
        max_samples: samples to choose from.
        max_seconds: choose from fewer samples, as many as this time allows.
        progress: called with samples classified and in all.

    Raises:
        DataError: if there are no samples, or they are no images of one or three channels under this normalisation.
        ModelError: if a model does not classify them, or has no such layer or map.
        SettingError: if no image is to be shown.
    """
    if max_seconds is not None:
        again = partial(attention, before, after, batches, mean=mean, std=std, layer=layer, shown=shown, seed=seed)
        return within(max_seconds, again, max_samples, progress)
    if shown < 1:
        raise SettingError("too few", where="shown", expected="1 or more", found=str(shown))
    passage = Passage(batches, max_samples, progress)
    models = (before, after)
    passage = Passage(batches, max_samples, progress)
    with observing(*models), torch.no_grad():
        targets, classes, confidences = _named(models, passage)
        places = _chosen(targets, classes, shown, seed)
        images = _picked(passage, places)
        pictures = _pictures(images, mean, std)
        layers = [last_map(model, images) if layer is None else layer for model in models]
        maps = [
            grad_cam(model, images, targets[places].to(images.device), name)
            for model, name in zip(models, layers, strict=True)
        ]
    return Attention(
        samples=len(targets),
        cut=passage.cut,
        layer_before=layers[0] or _WHOLE,
        layer_after=layers[1] or _WHOLE,
        shown=tuple(
            AttendedImage(
                place=place,
                target=int(targets[place]),
                before=int(classes[0][place]),
                after=int(classes[1][place]),
                confidence_before=float(confidences[0][place]),
                confidence_after=float(confidences[1][place]),
                pixels=base64.b64encode(picture.numpy().tobytes()).decode("ascii"),
                shape=(picture.shape[0], picture.shape[1], picture.shape[2]),
                map_before=_rows(first),
                map_after=_rows(second),
            )
            for place, picture, first, second in zip(places, pictures, *maps, strict=True)
        ),
        seed=seed,
    )


def grad_cam(model: nn.Module, images: Tensor, targets: Tensor, layer: str) -> Tensor:
    """Return the maps [batch, height, width] of a layer that speak for given classes, each divided by its largest.

    Args:
        model: a classifier in eval mode.
        images: a batch [batch, channels, height, width].
        targets: the class to explain of each [batch].
        layer: name of a module with an output map.

    Raises:
        ModelError: if there is no such layer, it gives no map, or the classes do not depend on it.
    """
    module = module_named(model, layer)
    inputs = images.detach().clone().requires_grad_(True)  # also where the model's weights are frozen
    with torch.enable_grad(), recording({layer: module}, images.ndim) as maps:
        outputs = classify(model, inputs, targets)
        features = maps.get(layer)
        if features is None or len(features) != len(images):
            raise ModelError("the layer gives no map", where=layer or type(model).__name__, expected="a map per image")
        scores = outputs.gather(1, targets.long()[:, None]).sum()
        (slope,) = torch.autograd.grad(scores, features, allow_unused=True)
    if slope is None:
        raise ModelError("no class depends on the layer", where=layer or type(model).__name__)
    found = (slope.mean((2, 3), keepdim=True) * features).sum(1).detach().double().clamp(min=0)
    largest = found.flatten(1).max(1).values
    return found / torch.where(largest > 0, largest, 1)[:, None, None]


def _named(models: Sequence[nn.Module], passage: Passage) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return the targets [n], and per model the classes [n] that it names and their softmax outputs [n]."""
    targets: list[Tensor] = []
    classes: list[list[Tensor]] = [[] for _ in models]
    confidences: list[list[Tensor]] = [[] for _ in models]
    for samples, labels in passage:
        check_images(samples)
        for model, named, sure in zip(models, classes, confidences, strict=True):
            largest = classify(model, samples, labels).softmax(1).max(1)
            named.append(largest.indices.cpu())
            sure.append(largest.values.cpu())
        targets.append(labels.long().cpu())
    return torch.cat(targets), [torch.cat(parts) for parts in classes], [torch.cat(parts) for parts in confidences]


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
    """Return the samples [n, channels, height, width] at these places, from another pass.

    Raises:
        DataError: if they differ in size.
    """
    found: dict[int, Tensor] = {}
    for samples, _ in passage:
        first = passage.samples
        found |= {place: samples[place - first] for place in places if first <= place < first + len(samples)}
    if len({image.shape for image in found.values()}) > 1:
        raise DataError("the images differ in size", remedy="bring them to one size")
    return torch.stack([found[place] for place in places])


def _pictures(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> list[Tensor]:
    """Return images as bytes [height, width, channels], at most 96 pixels a side.

    Raises:
        DataError: if they have other channels than one or three, or are no images under this normalisation.
    """
    if images.shape[1] not in {1, 3}:
        raise DataError("pictures have one channel or three", found=f"{images.shape[1]} channels")
    low, _, scale = valid_range(images, mean, std)
    pixels = ((images - low) / scale).float()
    longest = max(pixels.shape[2:])
    if longest > LARGEST:
        size = [max(1, round(side * LARGEST / longest)) for side in pixels.shape[2:]]
        pixels = F.interpolate(pixels, size=size, mode="bilinear", antialias=True)
    return list((pixels.clamp(0, 1) * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu())


def _rows(found: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(value, 3) for value in row) for row in found.tolist())
