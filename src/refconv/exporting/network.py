"""The network as it is exported: one tensor in, named tensors out, with normalisation and softmax inside if asked."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from refconv.data.preprocessing import Preprocessing
from refconv.errors import ModelError, SettingError, lacks_memory
from refconv.exporting.config import ExportConfig
from refconv.surgery.refocusing import MERGE_FIRST, transformed
from refconv.tasks.task import Task

INPUT = "images"


class Deployed(nn.Module):
    """A merged network in evaluation mode as one function of a tensor.

    With ``prepares`` the input is bytes [batch, H, W, C] in RGB order, else float32 [batch, C, ...] prepared as the
    network takes it. Networks that take lists of images get a batch of one. Outputs are float32 but for labels.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, model: nn.Module, task: Task, prepares: Preprocessing | None, *, softmax: bool = False, half: bool = False
    ) -> None:
        super().__init__()
        model = copy.deepcopy(model).cpu().eval().requires_grad_(False)
        self.model = model.half() if half else model.float()
        self.half_inside, self.softmax, self.takes_lists = half, softmax, task.takes_lists
        self.reverses = prepares is not None and prepares.color_mode == "BGR"
        self.prepares = prepares is not None
        mean, std = ((0.0,), (1.0,)) if prepares is None else (prepares.mean, prepares.std)
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)
        self.names = ["probabilities"] if softmax else list(task.output_names)
        self.exclusive = task.takes_softmax  # one class of each sample, or of each pixel, holds
        self.classes: int | None = None

    def forward(self, images: Tensor) -> Any:
        """Return the outputs, a tensor or a tuple of them."""
        if self.prepares:
            images = images.permute(0, 3, 1, 2).float() / 255  # movedim is more than the older exporter knows
            images = images.flip(1) if self.reverses else images
            images = (images - self.mean) / self.std
        images = images.half() if self.half_inside else images
        if self.takes_lists:
            (found,) = self.model([images[0]])
            return tuple(found[name] for name in self.names)
        outputs = self.model(images)
        outputs = (outputs["out"] if isinstance(outputs, Mapping) else outputs).float()
        return outputs.softmax(1) if self.softmax else outputs

    @torch.no_grad()
    def look_at(self, example: Tensor) -> None:
        """Find out by one run how many classes there are, and whether a detector gives masks."""
        try:
            if self.takes_lists:
                image = example[0].permute(2, 0, 1).float() / 255 if self.prepares else example[0]
                self.names += ["masks"] if "masks" in self.model([image])[0] else []
            elif self.names != ["restored"]:
                self.classes = int(self(example).shape[1])
        except (RuntimeError, ValueError, TypeError, AssertionError, LookupError) as error:
            if lacks_memory(error):
                raise
            found = f"{type(error).__name__}: {error}"
            what = "the network does not take such input"
            remedy = "give --img-size, in Python preprocessing={'img_size': 224}"
            shape = f"input of shape {list(example.shape)}"
            where = type(self.model).__name__
            raise ModelError(what, where=where, expected=shape, found=found, remedy=remedy) from error


def check_exportable(model: nn.Module, task: Task, config: ExportConfig) -> None:
    """Refuse a refocused model, and options that the task has no use for."""
    layer = next((name for name, _, _ in transformed(model)), None)
    if layer is not None:
        remedy = f"{MERGE_FIRST}; a run: refconv merge RUN -o FOLDER"
        raise ModelError("the model is refocused", where=layer, expected="a merged model", remedy=remedy)
    if config.softmax and not task.takes_softmax:
        found = f"{task.name} gives {', '.join(task.output_names)}"
        what = "is for outputs of which one class holds"
        raise SettingError(what, where="softmax", found=found, remedy="leave it out")
    if config.int8 and task.takes_lists:
        raise SettingError("is not for detectors, whose boxes need more than 8 bits", where="int8")
    if config.half and task.takes_lists:
        what, remedy = "detectors compute boxes in float32", "leave it out"
        raise SettingError(what, where="half", remedy=remedy)


@torch.no_grad()
def with_other_weights(model: nn.Module) -> nn.Module:
    """Return a copy of a network with random weights: exporters leave out what does nothing, such as adding zeros."""
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for weight in other.parameters():
        if weight.is_floating_point():
            weight.copy_(torch.randn(weight.shape, generator=generator) * 0.05)
    return other
