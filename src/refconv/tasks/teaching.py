"""Distillation: a teacher's soft targets beside the labels (Hinton, Vinyals and Dean 2015, arXiv 1503.02531)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.data import DataInfo
from refconv.data.preprocessing import Statement, resolve
from refconv.data.sources import SOURCES
from refconv.errors import ModelError
from refconv.models.opening import Opened, open_model
from refconv.recipe.recipe import Recipe
from refconv.tasks.evaluation import Autocast, autocasting


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A frozen teacher, whose logits have a ``weight`` from 0 to 1 in the loss; the labels have the rest.

    Both distributions are softened by the temperature; ``autocast`` is the context of a forward, and ``prepare`` turns
    the student's batch into the teacher's, where they differ.
    """

    model: nn.Module
    weight: float
    temperature: float
    autocast: Autocast
    prepare: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        self.model.eval().requires_grad_(False)

    def logits(self, inputs: Tensor, student: Tensor) -> Tensor:
        """Return the teacher's logits for a batch as the student sees it."""
        with torch.no_grad(), self.autocast():
            outputs = self.model(inputs if self.prepare is None else self.prepare(inputs))
        logits: Tensor = outputs["out"] if isinstance(outputs, Mapping) else outputs
        if logits.shape != student.shape:
            what, expected = "the teacher has other classes than the student", f"outputs of shape {list(student.shape)}"
            raise ModelError(what, where="distill", expected=expected, found=str(list(logits.shape)))
        return logits

    def loss(self, inputs: Tensor, outputs: Tensor, labelled: Tensor) -> Tensor:
        """Return (1 - weight) * labelled + weight * T^2 * KL(teacher || student), both at temperature T."""
        t = self.temperature
        teacher, student = (F.log_softmax(one.float() / t, dim=1) for one in (self.logits(inputs, outputs), outputs))
        divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True)
        return (1 - self.weight) * labelled + self.weight * t * t * divergence


def make_teacher(recipe: Recipe, device: torch.device, info: DataInfo, *, resizes: bool = True) -> Teacher | None:
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
    return Teacher(model, recipe.distill_alpha, recipe.distill_temperature, autocast, prepare)


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
