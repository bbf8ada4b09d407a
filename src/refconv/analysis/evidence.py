"""Data on which two models are analysed: classifiers sample by sample, models of other tasks by the task's measures."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import nn

from refconv.analysis.batches import Batch, KeptBatches
from refconv.analysis.registry import OF_IMAGES, RECALIBRATED, EvalData
from refconv.data import Data, Split
from refconv.data.dataset import in_drawn_order
from refconv.errors import SettingError
from refconv.measures.scores import Scores
from refconv.models.opening import Opened
from refconv.process.distributed import choose_device
from refconv.tasks.model_data import data_for
from refconv.tasks.registry import task_named
from refconv.tasks.task import Task

_BATCH = 128
_NUMBERS = 2**22  # of the samples of a batch: measures that differentiate twice keep many times as much
_CALIBRATION = 1024  # training samples that batch-norm statistics are collected on
_EXAMINED = 16  # samples of a batch: images of other tasks are large, or of many sizes


def open_evidence(
    opened: tuple[Opened, Opened],
    name: str,
    *,
    root: str | None = None,
    class_map: str | None = None,
    split: str = "test",
    samples: int | None = None,
    seconds: float | None = None,
    device: str | None = None,
) -> tuple[EvalData, Mapping[str, str], Data]:
    """Open data for two plain classifiers, which are moved to the device.

    Samples come in an order drawn once: data sets on a disk are sorted by class, and the first samples would be those
    of a few classes. Beside the samples come the measures that the data does not allow, with the reason, and the data.
    """
    for side in opened:
        if side.task != "classification":
            problem, remedy = (
                "measures with data are for classifiers",
                "leave --data out: measures of weights work for every task",
            )
            raise SettingError(problem, where="--data", found=f"a model for {side.task}", remedy=remedy)
    place = choose_device(device)
    for side in opened:
        side.model.to(place)
    known = next((side for side in reversed(opened) if side.stated), opened[1])
    data = data_for(known, name, root=root, class_map=class_map)
    batch_size = max(8, min(_BATCH, _NUMBERS // math.prod(data.info.input_size)))

    def batches(drawn: Data, part: Split, most: int | None = None) -> Callable[[], Iterator[Batch]]:
        def through() -> Iterator[Batch]:
            for number, (inputs, labels) in enumerate(drawn.eval_batches(part, batch_size=batch_size)):
                if most is not None and number * batch_size >= most:
                    return
                yield inputs.to(place), labels.to(place)

        return KeptBatches(through)

    part = cast(Split, split)
    drawn, order, _ = in_drawn_order(data, part)
    evidence = EvalData(
        batches=batches(drawn, part),
        training=batches(in_drawn_order(data, "train")[0], "train", _CALIBRATION),
        mean=data.info.mean,
        std=data.info.std,
        max_samples=samples,
        max_seconds=seconds,
        order=order,
    )
    size = data.info.input_size
    reason = f"it needs images [channels, height, width], and these samples are {list(size)}"
    impossible = {} if len(size) == 3 else dict.fromkeys(OF_IMAGES, reason)
    if not data.info.train_size:
        impossible |= dict.fromkeys(RECALIBRATED, "it needs training samples, and this data has none")
    return evidence, impossible, data


@dataclass(frozen=True)
class Examination:
    """Samples that models of one task are evaluated on; ``cut``: whether the split has more."""

    task: Task
    data: Data
    split: Split
    samples: int
    cut: bool
    device: torch.device

    def scores(self, before: nn.Module, after: nn.Module) -> dict[str, Scores]:
        """Evaluate two models on the device; return their scores as ``before`` and ``after``."""
        return {"before": self._of(before), "after": self._of(after)}

    def _of(self, model: nn.Module) -> Scores:
        model = model.to(self.device)
        found = self.task.evaluate(model, self.data, self.split, batch_size=_EXAMINED, device=self.device)
        return Scores(self.task.name, self.samples, self.cut, found.measures(), found.classes())


def open_examination(
    opened: tuple[Opened, Opened],
    name: str,
    *,
    root: str | None = None,
    class_map: str | None = None,
    split: str = "test",
    samples: int | None = None,
    device: str | None = None,
) -> Examination:
    """Open data as the later model was trained on, to evaluate both; ``samples`` are drawn from the split, or all."""
    first, second = opened
    if first.task != second.task:
        raise SettingError("the models are for different tasks", where="--data", expected=second.task, found=first.task)
    part = cast(Split, split)
    data = data_for(second, name, root=root, class_map=class_map)
    drawn, order, cut = in_drawn_order(data, part, samples)
    return Examination(task_named(second.task), drawn, part, len(order), cut, choose_device(device))
