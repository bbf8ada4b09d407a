"""Distillation: a teacher's outputs and features beside the labels (Hinton et al. 2015, arXiv 1503.02531).

Features are compared by attention (Zagoruyko and Komodakis 2017, arXiv 1612.03928), which needs no equal channels.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from refconv.data import DataInfo
from refconv.data.preprocessing import Statement, resolve
from refconv.data.sources import SOURCES
from refconv.errors import ModelError, did_you_mean
from refconv.models.opening import Opened, open_model
from refconv.recipe.recipe import Recipe
from refconv.tasks.evaluation import Autocast, autocasting

Distance = Callable[[Tensor, Tensor, float], Tensor]
"""How far a student's outputs are from a teacher's at a temperature T, divided by T^2: the mean over the batch.

Values and images have no temperature; the T^2 that the loss multiplies by takes it back."""


def of_classes(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || student) of the classes, both softened by the temperature."""
    soft, opinion = (F.log_softmax(one.float() / temperature, dim=1) for one in (student, teacher))
    return F.kl_div(soft, opinion, reduction="batchmean", log_target=True)


def of_labels(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher || student) of each label being there or not, the mean over labels."""
    soft, opinion = student.float() / temperature, teacher.float() / temperature
    there = opinion.sigmoid()
    logs = [there * (F.logsigmoid(opinion) - F.logsigmoid(soft))]
    logs.append((1 - there) * (F.logsigmoid(-opinion) - F.logsigmoid(-soft)))
    return torch.stack(logs).sum(dim=0).mean()


def of_values(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean squared difference."""
    return F.mse_loss(student.float(), teacher.float()) / temperature**2


def of_images(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return the mean absolute difference."""
    return F.l1_loss(student.float(), teacher.float()) / temperature**2


def of_directions(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return 1 - cosine of the outputs, the mean over the batch."""
    return (1 - F.cosine_similarity(student.float(), teacher.float(), dim=1)).mean() / temperature**2


def attention(features: Tensor) -> Tensor:
    """Return the attention map of features [n, C, *spatial], [n, places] of length 1; of [n, C] the features."""
    flat = features.float().square().mean(dim=1).flatten(1) if features.ndim > 2 else features.float()
    return F.normalize(flat, dim=1)


class Features:
    """The outputs of layers of a student and its teacher, compared by their attention.

    The distance of a layer is ||Q_s - Q_t||^2 of the maps, from 0 to 2, the mean over the batch; the maps of a teacher
    of another size are resized to the student's. ``NAME`` is a layer of both, ``STUDENT=TEACHER`` one of each. Where
    one side gives tokens [n, places, C] and the other maps, the last tokens that make a square are a map.
    """

    def __init__(self, layers: Sequence[str], teacher: nn.Module) -> None:
        self.layers = layers
        self._kept: dict[str, dict[str, Tensor]] = {"student": {}, "teacher": {}}
        self._student: nn.Module | None = None
        self._hook(teacher, "teacher")

    def watch(self, network: Callable[..., object]) -> None:
        """Look at a student, which may be wrapped for several processes, from now on."""
        if self._student is None:
            model = network.module if isinstance(network, DistributedDataParallel) else network
            assert isinstance(model, nn.Module)
            self._student = model
            self._hook(model, "student")

    def distance(self) -> Tensor:
        """Return the sum of the layers' distances after both have run."""
        found = []
        for layer in self.layers:
            student, teacher = (self._kept[side].pop(name, None) for side, name in _sides(layer).items())
            if student is None or teacher is None:
                raise ModelError("the layer did not run", where=f"distill_features {layer}", expected="a tensor")
            if {student.ndim, teacher.ndim} == {3, 4}:
                student, teacher = (_as_map(one) for one in (student, teacher))
            if student.shape[2:] != teacher.shape[2:] and student.ndim == teacher.ndim:
                squares = teacher.float().square().mean(dim=1, keepdim=True)
                mode = {3: "linear", 4: "bilinear", 5: "trilinear"}[student.ndim]
                teacher = F.interpolate(squares, student.shape[2:], mode=mode).sqrt()
            maps = attention(student), attention(teacher)
            if maps[0].shape != maps[1].shape:
                what, expected = "features that cannot be compared", f"as the student's, {list(student.shape)}"
                raise ModelError(
                    what, where=f"distill_features {layer}", expected=expected, found=str(list(teacher.shape))
                )
            found.append((maps[0] - maps[1]).square().sum(dim=1).mean())
        return torch.stack(found).sum()

    def _hook(self, model: nn.Module, side: str) -> None:
        modules = dict(model.named_modules())
        for layer in (_sides(one)[side] for one in self.layers):
            if layer not in modules:
                remedy = did_you_mean(layer, modules) or "name a layer that both models have, or STUDENT=TEACHER"
                expected = f"a layer of the {side}"
                raise ModelError("no such layer", where=f"distill_features {layer}", expected=expected, remedy=remedy)
            modules[layer].register_forward_hook(partial(self._keep, side, layer))

    def _keep(self, side: str, layer: str, module: nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, Tensor):
            self._kept[side][layer] = output


def _sides(layer: str) -> dict[str, str]:
    student, _, teacher = layer.partition("=")
    return {"student": student, "teacher": teacher or student}


def _as_map(features: Tensor) -> Tensor:
    """Return the last tokens [n, places, C], as many as make a square, as a map [n, C, side, side]."""
    if features.ndim == 4:
        return features
    side = math.isqrt(features.shape[1])
    places: Tensor = features[:, -(side**2) :].transpose(1, 2)
    return places.reshape(*places.shape[:2], side, side)


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A frozen teacher, whose outputs have a ``weight`` from 0 to 1 in the loss; the labels have the rest.

    Both outputs are softened by the temperature; ``autocast`` is the context of a forward, ``prepare`` turns the
    student's batch into the teacher's, where they differ, and ``restate`` the teacher's values into the student's.
    """

    model: nn.Module
    weight: float
    temperature: float
    autocast: Autocast
    prepare: Callable[[Tensor], Tensor] | None = None
    distance: Distance = of_classes
    restate: Callable[[Tensor], Tensor] | None = None
    features: Features | None = None
    features_weight: float = 1.0

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)

    def logits(self, inputs: Tensor, student: Tensor) -> Tensor:
        """Return the teacher's logits for a batch as the student sees it."""
        with torch.no_grad(), self.autocast():
            outputs = self.model(inputs if self.prepare is None else self.prepare(inputs))
        logits: Tensor = outputs["out"] if isinstance(outputs, Mapping) else outputs
        logits = logits if self.restate is None else self.restate(logits)
        if logits.shape != student.shape:
            what, expected = "the teacher has other outputs than the student", f"outputs of shape {list(student.shape)}"
            raise ModelError(what, where="distill", expected=expected, found=str(list(logits.shape)))
        return logits

    def loss(self, inputs: Tensor, outputs: Tensor, labelled: Tensor) -> Tensor:
        """Return (1 - weight) * labelled + weight * T^2 * distance, at temperature T, and the features' distance."""
        t = self.temperature
        divergence = self.distance(outputs, self.logits(inputs, outputs), t)
        return self.with_features((1 - self.weight) * labelled + self.weight * t * t * divergence)

    def watch(self, network: Callable[..., object]) -> None:
        """Look at the student's features, if they are compared; called before each of its forwards."""
        if self.features is not None:
            self.features.watch(network)

    def with_features(self, loss: Tensor) -> Tensor:
        """Add the distance of the features, if they are compared."""
        return loss if self.features is None else loss + self.features_weight * self.features.distance()


def make_teacher(
    recipe: Recipe, device: torch.device, info: DataInfo, distance: Distance = of_classes, *, resizes: bool = True
) -> Teacher | None:
    """Open the teacher that a recipe names: a run, a model folder, a model's name, or weights of the student's model.

    ``info`` says what the student's batches are like; with ``resizes`` images are brought to the teacher's own size.
    """
    if recipe.distill is None:
        return None
    if recipe.distill_checkpoint is not None:
        opened = open_model(recipe.distill_checkpoint, model=recipe.distill)
    else:
        opened = open_model(recipe.distill, pretrained=True, model=recipe.model)
    prepare = for_teacher(info, opened, resizes=resizes)
    model, autocast = opened.model.to(device), autocasting(device, recipe.amp)
    features = Features(recipe.distill_features, model) if recipe.distill_features else None
    more: dict[str, Any] = {
        "features": features,
        "features_weight": recipe.distill_features_weight,
        "restate": _restated(info, opened),
    }
    return Teacher(model, recipe.distill_alpha, recipe.distill_temperature, autocast, prepare, distance, **more)


def _restated(info: DataInfo, opened: Opened) -> Callable[[Tensor], Tensor] | None:
    """Return what turns scaled values of a teacher's into the student's; None where they are alike."""
    known = opened.stated.values
    std, mean = known.get("target_std"), known.get("target_mean")
    if (mean or (), std or ()) == (list(info.target_mean), list(info.target_std)) or not (std or info.target_std):
        return None

    def restate(values: Tensor) -> Tensor:
        numbers = (mean or 0.0, std or 1.0, info.target_mean or 0.0, info.target_std or 1.0)
        m, s, own_m, own_s = (torch.as_tensor(one, device=values.device) for one in numbers)
        return (values.float() * s + m - own_m) / own_s

    return restate


def for_teacher(info: DataInfo, opened: Opened, *, resizes: bool = True) -> Callable[[Tensor], Tensor] | None:
    """Return what turns the student's normalised batch into the teacher's; None if they are alike.

    Values in [0, 1] are recovered and normalised as the teacher was trained. The teacher sees what the student sees:
    the same crop, resized if the teacher takes another size. Of 8-bit images it gets the tensor that its own
    normalisation makes of them, bit for bit: k / 255 is recovered exactly, as it is known to within rounding.
    """
    if not opened.stated or (info.name in SOURCES and not opened.stated.of_run):
        return None
    in_chans = opened.arguments.get("in_chans") or (opened.stated.values.get("input_size") or info.input_size)[0]
    if in_chans != info.in_chans:
        what = "the teacher takes another number of channels than the student"
        expected, remedy = str(info.in_chans), f"give --in-chans {in_chans}, or another teacher"
        raise ModelError(what, where="distill", expected=expected, found=str(in_chans), remedy=remedy)
    own = Statement("student", {"input_size": info.input_size, "mean": info.mean, "std": info.std})
    theirs = resolve([opened.stated, own], in_chans=info.in_chans, where=opened.name)
    size = theirs.size if resizes and len(theirs.size) == len(info.input_size) - 1 else info.input_size[1:]
    if (size, theirs.mean, theirs.std) == (info.input_size[1:], info.mean, info.std):
        return None
    mode = {1: "linear"}.get(len(size)) or ("bilinear" if theirs.interpolation == "bilinear" else "bicubic")

    def prepare(inputs: Tensor) -> Tensor:
        values = _unnormalised(inputs.float(), info)
        if values.shape[2:] != size:
            values = F.interpolate(values, size, mode=mode, antialias=len(size) == 2)
        mean, std = (_along_channels(numbers, values) for numbers in (theirs.mean, theirs.std))
        return (values - mean) / std

    return prepare


def _unnormalised(inputs: Tensor, info: DataInfo) -> Tensor:
    """Return values in [0, 1]; those within rounding error of a multiple of 1/255 become what an 8-bit image has."""
    mean, std = (_along_channels(numbers, inputs) for numbers in (info.mean, info.std))
    values = inputs * std + mean
    steps = (255 * values).round()
    # Subtraction, division, product and sum each round by 2**-24 of at most |value| + 2 |mean|.
    error = 2**-22 * (values.abs() + 2 * mean.abs())
    return torch.where((values - steps / 255).abs() <= error, steps / 255, values)


def _along_channels(numbers: Sequence[float], inputs: Tensor) -> Tensor:
    return torch.tensor(numbers, device=inputs.device).view(-1, *[1] * (inputs.ndim - 2))
