"""How faithful maps are: what happens to the score of a class as the pixels that a map marks come and go.

Insertion and deletion (Petsiuk, Das and Saenko, BMVC 2018, arXiv 1806.07421). With the pixels of an image ordered by a
map, the most important first, p_j the softmax output of the image's own class with the first j / steps of the pixels
replaced by blank ones (deletion), or with all but these blank (insertion),

    area = (p_0 / 2 + p_1 + ... + p_(steps - 1) + p_steps / 2) / steps,

which is high for insertion and low for deletion if the map is faithful. Blank is the mean colour, zero after the
normalisation. Their difference, the gap, is zero on average for pixels in random order, which are measured beside it:
where all samples gain confidence, both areas rise.

Maps are Grad-CAM and Grad-CAM++ of the last convolution with a map, brought to the size of the image, and the occlusion
maps of captum (Zeiler and Fergus, ECCV 2014): how much the output of the class falls under a blank square.

Note [Why not pytorch-grad-cam]: it needs OpenCV, and adds a constant to the denominator of Grad-CAM++, so that its maps
depend on the scale of the gradient. The tests compare with it where it is installed.
"""

from __future__ import annotations

import math
from statistics import fmean, stdev

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.analysis.batches import Batches, Passage, Progress, check_least, classify, drawn, observing
from refconv.analysis.measures.attribution import cam, last_map, map_and_slope
from refconv.analysis.measures.robustness import check_images
from refconv.analysis.timing import timed
from refconv.errors import ModelError, SettingError
from refconv.measures.explanations import Area, Explanations, MapFaithfulness

_WINDOW, _STRIDE = 4, 8  # the side of an image over that of the occluding square, and over its step


# Passes forward of a model: about 50 squares and what the other maps cost, and two for each step of each of four maps.
@timed(lambda steps, **_: (7 + steps) / 8, steps=1)
def explanations(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    layer: str | None = None,
    steps: int = 16,
    seed: int = 0,
    max_samples: int | None = 64,
    max_seconds: float | None = None,
    progress: Progress | None = None,
) -> Explanations:
    """Measure how faithful the maps of two classifiers are, by insertion and deletion.

    Args:
        layer: name of a module with an output map, in both models; by default the last convolution of each to run whose
            map has more than one position.
        steps: parts in which pixels come and go.
    """
    check_least(1, steps=steps)
    models = (before, after)
    areas: list[dict[str, list[Tensor]]] = [{}, {}]
    layers: list[str] = []
    passage = Passage(batches, max_samples, progress)
    with observing(*models), torch.no_grad():
        for samples, targets in passage:
            check_images(samples)
            layers = layers or [last_map(model, samples) if layer is None else layer for model in models]
            order = drawn(samples[:, :1], passage.samples, seed, normal=False)[:, 0]
            for model, name, found in zip(models, layers, areas, strict=True):
                ends = end_scores(model, samples, targets)
                for kind, marked in {**_maps(model, samples, targets, name), "random": order}.items():
                    found.setdefault(kind, []).append(faithfulness(model, samples, targets, marked, steps, ends))
    first, second = ({kind: torch.cat(parts, 1) for kind, parts in found.items()} for found in areas)
    rows = [_row(kind, first[kind], second[kind]) for kind in first]
    one, other = (name or "(the model itself)" for name in layers)
    return Explanations(passage.samples, passage.cut, one, other, steps, tuple(rows))


def faithfulness(
    model: nn.Module, samples: Tensor, targets: Tensor, marked: Tensor, steps: int, ends: Tensor | None = None
) -> Tensor:
    """Return the areas of insertion and deletion [2, n] of maps [n, height, width] on samples [n, c, height, width].

    ``ends``: the :func:`end_scores` of the samples, which all maps share.
    """
    pixels = marked[0].numel()
    ranks = marked.flatten(1).argsort(dim=1, descending=True, stable=True).argsort(dim=1).view_as(marked)[:, None]
    ends = end_scores(model, samples, targets) if ends is None else ends
    areas = (ends.sum(0) / (2 * steps)).repeat(2, 1)  # either area begins at one end and ends at the other
    for step in range(1, steps):
        first = ranks < round(step * pixels / steps)
        for place, kept in enumerate((first, ~first)):
            areas[place] += _class_scores(model, samples * kept, targets) / steps
    return areas


def end_scores(model: nn.Module, samples: Tensor, targets: Tensor) -> Tensor:
    """Return the softmax outputs of each sample's class for a blank image and for the sample itself [2, n]."""
    blank = torch.zeros_like(samples)
    return torch.stack([_class_scores(model, images, targets) for images in (blank, samples)])


def _class_scores(model: nn.Module, samples: Tensor, targets: Tensor) -> Tensor:
    """Return the softmax output of each sample's class [n], on the CPU."""
    return classify(model, samples, targets).softmax(1).gather(1, targets.long()[:, None])[:, 0].cpu()


def occlusion(model: nn.Module, samples: Tensor, targets: Tensor) -> Tensor:
    """Return how much the output of each sample's class falls under a blank square [n, height, width], by captum."""
    try:
        from captum.attr import Occlusion
    except ImportError as error:
        raise SettingError("occlusion maps need captum", remedy='pip install "refconv[analysis]"') from error
    channels, sides = samples.shape[1], samples.shape[2:]
    window, stride = (tuple(math.ceil(side / part) for side in sides) for part in (_WINDOW, _STRIDE))
    found: Tensor = Occlusion(model).attribute(
        samples, (channels, *window), strides=(channels, *stride), target=targets.long(), baselines=0
    )
    if not bool(torch.isfinite(found).all()):
        raise ModelError("the model's outputs are not finite", where=type(model).__name__)
    return found[:, 0].double()


def _maps(model: nn.Module, samples: Tensor, targets: Tensor, layer: str) -> dict[str, Tensor]:
    """Return maps of the size of the samples, by their names."""
    features, slope = map_and_slope(model, samples, targets, layer)
    kinds = {
        "grad_cam": cam(features, slope),
        "grad_cam_plus": cam(features, slope, plus=True),
        "occlusion": occlusion(model, samples, targets),
    }
    size = tuple(samples.shape[2:])
    found = {}
    for kind, marked in kinds.items():
        if marked.shape[1:] != size:
            marked = F.interpolate(marked[:, None], size, mode="bilinear", align_corners=False)[:, 0]
        found[kind] = marked
    return found


def _row(kind: str, before: Tensor, after: Tensor) -> MapFaithfulness:
    sides = [torch.cat([side, side[:1] - side[1:]]) for side in (before, after)]
    areas = [_area(*values) for values in zip(*(side.tolist() for side in sides), strict=True)]
    return MapFaithfulness(kind, *areas)


def _area(before: list[float], after: list[float]) -> Area:
    differences = [last - first for first, last in zip(before, after, strict=True)]
    error = stdev(differences) / math.sqrt(len(differences)) if len(differences) > 1 else None
    return Area(fmean(before), fmean(after), error)
