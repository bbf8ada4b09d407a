"""What an exported file is tried on: images that are given, those of its data, or generated ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from refconv.data import Data
from refconv.data.preprocessing import Preprocessing
from refconv.errors import DataError, ModelError, lacks_memory
from refconv.exporting.checking import inputs_of
from refconv.exporting.config import ExportConfig
from refconv.exporting.given import check_size
from refconv.exporting.network import Deployed
from refconv.models.exported import as_bytes
from refconv.models.opening import Opened
from refconv.tasks.model_data import data_for, first_samples
from refconv.tasks.task import Task


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What an exported file is checked and calibrated on: data by name, or else samples, or else generated input."""

    data: str | None = None
    data_dir: str | None = None
    samples: Any = None  # as the network takes them
    found: Data | None = None  # the data of that name, once they are opened

    def opened_for(self, opened: Opened) -> Evidence:
        """Return the same with the data that are named opened for a model, unless samples are given."""
        if self.data is None or self.samples is not None or self.found is not None:
            return self
        return dataclasses.replace(self, found=data_for(opened, self.data, root=self.data_dir, labelled=False))


def inputs_for(
    opened: Opened,
    task: Task,
    preprocessing: Preprocessing,
    prepares: Preprocessing | None,
    evidence: Evidence,
    *,
    any_size: bool = False,
) -> tuple[list[Tensor], str]:
    """Return inputs as the file takes them, and in words what they are."""
    samples, words = evidence.samples, "the given images"
    why = "no data are recorded with the model; name them by --data, in Python data"
    if samples is not None:
        check_size(samples, preprocessing, any_size=any_size or not task.prepares_images)
        samples = [image.float() for image in samples] if task.takes_lists else samples.float()
    if samples is None and (evidence.found is not None or opened.recipe is not None):
        try:
            data = evidence.found
            if data is None:
                data = data_for(opened, root=evidence.data_dir, labelled=False)
            samples = first_samples(data, task.samples_certified)
            words = f"{len(samples)} test images of {data.info.name}"
        except DataError as error:
            if evidence.found is not None:
                raise
            why = f"the recorded data cannot be had: {error}"
    if samples is None:
        example = generated(task, preprocessing, prepares)
        drawn = inputs_of(list(example) if task.takes_lists else example, takes_lists=task.takes_lists)
        return drawn, f"generated input ({why})"
    given = inputs_of(samples, takes_lists=task.takes_lists)
    if prepares is not None:
        mean, std = (torch.tensor(values).view(-1, 1, 1) for values in (prepares.mean, prepares.std))
        plain = [images * std + mean for images in given]
        given = [as_bytes(images.flip(1) if prepares.color_mode == "BGR" else images) for images in plain]
    return given, words


def free_axes(task: Task, preprocessing: Preprocessing, config: ExportConfig) -> dict[int, str]:
    """Return the names of the axes whose length is free, by number."""
    free = {} if task.takes_lists else {0: "batch"}
    if config.dynamic_size or not task.prepares_images:
        names = ("height", "width") if len(preprocessing.size) == 2 else ("length",)
        free |= dict(enumerate(names, start=1 if config.with_preprocessing else 2))
    return free


def generated(task: Task, preprocessing: Preprocessing, prepares: Preprocessing | None) -> Tensor:
    """Return random input of two samples, or of one where lists are taken."""
    count = 1 if task.takes_lists else 2
    shape = (count, *preprocessing.input_size)
    if prepares is None:
        found = task.random_samples(shape)
        return found[0][None] if isinstance(found, list) else found  # type: ignore[no-any-return]  # samples are of Any
    return as_bytes(torch.rand(shape, generator=torch.Generator().manual_seed(0)))


def of_another_size(network: Deployed, example: Tensor, free: Mapping[int, str]) -> Tensor:
    """Return random input of another height and width, or length, which both the network and the file have to take."""
    shape = [length + (axis * 32 if axis in free and axis else 0) for axis, length in enumerate(example.shape)]
    generator = torch.Generator().manual_seed(0)
    if example.dtype == torch.uint8:
        images = torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)
    else:
        images = torch.randn(shape, generator=generator)
    try:
        with torch.no_grad():
            network(images)
    except (RuntimeError, ValueError, AssertionError) as error:
        if lacks_memory(error):
            raise
        what, remedy = "the network takes images of one size", "leave it out"
        raise ModelError(what, where="dynamic_size", found=str(error).partition("\n")[0], remedy=remedy) from error
    return images


def shape_in_words(example: Tensor, free: Mapping[int, str]) -> str:
    """Return type and shape of an input, with the names of free axes."""
    shape = ", ".join(free.get(axis, str(length)) for axis, length in enumerate(example.shape))
    return f"{str(example.dtype).removeprefix('torch.')} [{shape}]"
