"""What is asked about two models, and the data: classifiers sample by sample, other models by their task's measures."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor

from refconv.analysis.answers import KeptBatches
from refconv.analysis.batches import Batch, Progress
from refconv.analysis.measures.cues import cue_conflict
from refconv.analysis.registry import DATA_MEASURES, OF_IMAGES, RECALIBRATED, WEIGHT_MEASURES, EvalData, Found
from refconv.analysis.stimuli import CUES, open_stimuli
from refconv.data import Data, Split
from refconv.data.dataset import in_drawn_order
from refconv.errors import SettingError
from refconv.measures.facts import DataFacts
from refconv.measures.scores import Scores
from refconv.models.opening import Opened
from refconv.paths import path_of
from refconv.process.distributed import choose_device
from refconv.tasks.model_data import data_for
from refconv.tasks.registry import task_named

SCORES = "scores"
"""What is measured with data of other models than classifiers: the measures of their task."""

_BATCH = 128
_BATCH_OF_A_CPU = 32  # its caches are small: larger batches take up to twice as long a sample
_NUMBERS = 2**22  # of the samples of a batch: measures that differentiate twice keep many times as much
_CALIBRATION = 1024  # training samples that batch-norm statistics are collected on
_EXAMINED = 16  # samples of a batch: images of other tasks are large, or of many sizes


@dataclass(frozen=True, kw_only=True)
class AnalysisConfig:
    """What is asked about two models."""

    only: tuple[str, ...] = ()  # names of measures; empty for all
    include: tuple[str, ...] = ()  # patterns of layers that measures of weights look at; empty for all
    exclude: tuple[str, ...] = ()
    data: str | None = None
    data_dir: str | None = None
    class_map: str | None = None
    split: str = "test"
    samples: int | None = None  # that a measure takes at most; None: its own bound
    seconds: float | None = None  # that all measures take, about; None: no bound
    device: str | None = None
    cue_conflict: str | None = None  # folder of images whose shape and texture are of different classes

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in (*WEIGHT_MEASURES, *DATA_MEASURES, SCORES, CUES):
                raise self._no_such(name)
            if name == CUES and self.cue_conflict is None:
                raise SettingError("needs images of two cues", where="--only", found=name, remedy="give --cue-conflict")
        if self.split not in {"train", "val", "test"}:
            raise SettingError("unknown split", where="--split", expected="train, val or test", found=repr(self.split))
        if self.seconds is not None and not self.seconds > 0:
            raise SettingError("no time", where="--seconds", expected="above 0", found=f"{self.seconds:g}")

    def measures(self, task: str, *, wanted: bool = False) -> tuple[str, ...]:
        """Return the names of the measures that are asked for, for models of a task, in the order of taking them.

        A measure that needs data is refused by name where there are none, unless they were ``wanted`` and not found.
        """
        for name in self.only:
            if self.data is None and not wanted and name not in (*WEIGHT_MEASURES, CUES):
                raise self._no_such(name, remedy="give --data")
        cues = (CUES,) if self.cue_conflict is not None else ()
        possible = (*WEIGHT_MEASURES, *(with_data(task) if self.data is not None else ()), *cues)
        return tuple(name for name in possible if not self.only or name in self.only)

    def _no_such(self, name: str, remedy: str | None = None) -> SettingError:
        known = [*WEIGHT_MEASURES, *(() if remedy else (*DATA_MEASURES, SCORES))]
        return SettingError("no such measure", where="--only", expected=", ".join(known), found=name, remedy=remedy)

    def data_facts(self, opened: tuple[Opened, Opened]) -> DataFacts | None:
        """Return the data as pair.json has it, with what the user says about the input of these models."""
        if self.data is None:
            return None
        flags = {name: str(value) for name, value in opened[1].flags.items()}
        return DataFacts(self.data, self.split, self.samples, self.seconds, flags, self.data_dir, self.class_map)


def with_data(task: str) -> tuple[str, ...]:
    """Return the names of the measures with data for models of a task."""
    return tuple(DATA_MEASURES) if task == "classification" else (SCORES,)


def open_evidence(opened: tuple[Opened, Opened], questions: AnalysisConfig) -> tuple[EvalData, Mapping[str, str], Data]:
    """Open data for two plain classifiers, which are moved to the device.

    Samples come in an order drawn once: data sets on a disk are sorted by class, and the first samples would be those
    of a few classes. Beside the samples come the measures that the data does not allow, with the reason, and the data.
    """
    place = choose_device(questions.device)
    for side in opened:
        if side.task != "classification":
            problem, found = "measures with data are for classifiers", f"a model for {side.task}"
            remedy = "leave --data out: measures of weights work for every task"
            raise SettingError(problem, where="--data", found=found, remedy=remedy)
        for parameter in side.model.to(place).parameters():
            parameter.data = _in_layout(parameter.data)
    known = next((side for side in reversed(opened) if side.stated), opened[1])
    data = data_for(known, str(questions.data), root=questions.data_dir, class_map=questions.class_map)
    size = data.info.input_size
    most = _BATCH_OF_A_CPU if place.type == "cpu" else _BATCH
    batch_size = max(8, min(most, _NUMBERS // math.prod(size)))

    def batches(
        drawn: Data, part: Split, count: int | None = None, samples: int | None = None
    ) -> Callable[[], Iterator[Batch]]:
        def through() -> Iterator[Batch]:
            for inputs, labels in itertools.islice(drawn.eval_batches(part, batch_size=batch_size), count):
                yield _in_layout(inputs.to(place)), labels.to(place)

        return KeptBatches(through, samples=samples)

    part = cast(Split, questions.split)
    drawn, order, _ = in_drawn_order(data, part)
    training = batches(in_drawn_order(data, "train")[0], "train", math.ceil(_CALIBRATION / batch_size))
    bounds: dict[str, Any] = {"max_samples": questions.samples, "max_seconds": questions.seconds}
    evidence = EvalData(
        batches(drawn, part, samples=len(order)), training, data.info.mean, data.info.std, **bounds, order=order
    )
    reason = f"it needs images [channels, height, width], and these samples are {list(size)}"
    impossible = {} if len(size) == 3 else dict.fromkeys(OF_IMAGES, reason)
    if not data.info.train_size:
        impossible |= dict.fromkeys(RECALIBRATED, "it needs training samples, and this data has none")
    return evidence, impossible, data


def _in_layout(samples: Tensor) -> Tensor:
    """Return images in channels-last format, in which convolutions of a CPU are quicker; other samples as they are."""
    return samples.to(memory_format=torch.channels_last) if samples.ndim == 4 else samples


def open_scores(
    opened: tuple[Opened, Opened], questions: AnalysisConfig, samples: int | None = None
) -> tuple[Callable[..., Found], Data]:
    """Open data as the later model was trained on; return what evaluates both models on them, and the data.

    ``samples`` are drawn from the split, or all. The scores are those of ``before`` and ``after``.
    """
    first, second = opened
    if first.task != second.task:
        raise SettingError("the models are for different tasks", where="--data", expected=second.task, found=first.task)
    part, place, task = cast(Split, questions.split), choose_device(questions.device), task_named(second.task)
    data = data_for(second, str(questions.data), root=questions.data_dir, class_map=questions.class_map)
    drawn, order, cut = in_drawn_order(data, part, samples)

    def scores(progress: Progress | None = None) -> Found:
        sides = {}
        for name, side in zip(("before", "after"), opened, strict=True):
            found = task.evaluate(side.model.to(place), drawn, part, batch_size=_EXAMINED, device=place)
            sides[name] = Scores(task.name, len(order), cut, found.measures(), found.classes())
        return sides

    return scores, data


def open_cues(opened: tuple[Opened, Opened], questions: AnalysisConfig) -> Callable[[Progress], Found]:
    """Open the images of two cues that are asked for; return what measures for which of them two classifiers decide."""
    device = choose_device(questions.device)
    batches, groups = open_stimuli(path_of(str(questions.cue_conflict)), opened[1], device)
    before, after = (side.model.to(device) for side in opened)
    bounds: dict[str, Any] = {"max_samples": questions.samples, "max_seconds": questions.seconds}
    return lambda progress: {"pair": cue_conflict(before, after, batches, groups=groups, progress=progress, **bounds)}
