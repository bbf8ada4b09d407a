"""What a finished run leaves behind in numbers, and the circumstances under which they were measured."""

from __future__ import annotations

import dataclasses
import math
import platform
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from refconv.data.preprocessing import Preprocessing
from refconv.errors import RecordError, RunError
from refconv.models.metadata import versions as versions
from refconv.models.run_folder import RunFolder
from refconv.records import Record
from refconv.surgery import Certificate
from refconv.task_measures import NUMBER, SHARE, TASKS, Measure, measures_of

_FIELDS = ("top1", "top5", "loss", "ece")  # measures with fields of their own


class Measured(Record):
    """A record of measures: some in fields of their own, the others by name in its field ``measures``."""

    def measure(self, name: str) -> float | None:
        """Return a measure by name; None if it was not taken."""
        known: Mapping[str, float] = vars(self) if name in _FIELDS else vars(self)["measures"]
        return known.get(name)


@dataclass(frozen=True)
class ValidationPoint(Measured):
    """One evaluation on the validation split, with measures as in :class:`RunRecord`."""

    step: int
    epoch: int
    top1: float | None = None
    top5: float | None = None
    loss: float | None = None
    measures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Course(Record):
    """The task's first measure before the first step and of the result, on the same samples."""

    measure: str
    split: str  # val or, without one, train, not augmented: the test split is read once
    samples: int
    start: float  # of the prepared model before its first step
    end: float | None = None  # of the plain result; None before it is measured
    loss: float | None = None  # before the first step; None where the task has none, and in earlier versions

    def __str__(self) -> str:
        measure = self._measure
        start, end = (measure.said(value) for value in (self.start, self.start if self.end is None else self.end))
        direction = ("fell", "lower") if measure.larger_is_better else ("rose", "higher")
        verb = f"{direction[0]} from" if self.fell else "from"
        split = {"val": "validation", "train": "training"}.get(self.split, self.split)
        unsure = f", {direction[1]} within noise" if self._loss > 0 and not self.fell else ""
        return f"{measure.label} {verb} {start} to {end} ({self.samples:,} {split} samples{unsure})"

    @property
    def fell(self) -> bool:
        """Whether the result is worse than the start by more than chance and one sample can explain."""
        return self._loss > self._noise

    @property
    def _measure(self) -> Measure:
        unknown = Measure(name=self.measure, label=self.measure, scale=NUMBER)
        return next((one for task in TASKS if (one := measures_of(task).primary).name == self.measure), unknown)

    @property
    def _loss(self) -> float:
        """By how much the result is worse than the start; negative if it is better, 0 where it was not measured."""
        worse = self.start - (self.start if self.end is None else self.end)
        return worse if self._measure.larger_is_better else -worse

    @property
    def _noise(self) -> float:
        """Two standard errors of the difference, and no less than what one sample decides.

        The mean of n values from 0 to 1 that is p has at most the variance p (1 - p) / n. Start and end are taken for
        independent, which makes the bound wider, as they are of the same samples. Measures that are no shares have no
        such bound; for them it is the smallest difference of interest, such as 0.05 dB.
        """
        if self._measure.scale is not SHARE or self.end is None:
            return self._measure.resolve or 0.0
        variances = (max(0.0, value * (1 - value)) / self.samples for value in (self.start, self.end))
        return max(1 / self.samples, 2 * math.sqrt(sum(variances)))


@dataclass(frozen=True)
class RunRecord(Measured):
    """The record of a finished run."""

    model: str
    data: str
    method: str  #: the method's name, such as ``plain`` or ``refocus``
    seed: int
    #: accuracy of the shipped model on the test split; None where that was not read, and in tasks other than
    #: classification
    top1: float | None
    top5: float | None
    loss: float | None  #: mean loss on the test split; None where evaluation has none
    test_samples: int  #: samples of the test split
    train_loss: float | None  #: mean training loss over the last log interval
    #: evaluations on the validation split, in order; nothing was chosen by them
    validation: tuple[ValidationPoint, ...]
    epochs: int
    steps: int
    batch_size: int  #: samples per step, over all processes
    samples_seen: int  #: training samples seen, over all processes
    parameters_trained: int  #: parameters with a gradient while training
    parameters_shipped: int  #: parameters of the plain result
    extra_parameters: int  #: refocus weights, trained and never shipped; gradient space has none
    sites: int  #: number of kernels refocused
    seconds: float  #: time from the first step to the last, evaluations and all sessions included
    step_ms: float | None  #: median time of a step in milliseconds, in the last session
    processes: int
    hardware: str
    versions: dict[str, str]
    command: str
    #: what the model in training and the plain result, newly built and loaded strictly, have in common
    certificate: Certificate
    ece: float | None = None  #: expected calibration error on the test split, in 15 bins of equal width
    #: peak memory of tensors on the accelerator in the last session, in 2**20 bytes; None on a CPU
    peak_memory_mb: float | None = None
    #: time before the first step and after the last, in the last session: opening, start, certificate and test; None in
    #: records that did not note it
    seconds_around: float | None = None
    space: str | None = None  #: ``kernel`` or ``gradient``, where the kernels were refocused
    #: numbers trained beyond what the recipe's budget allows, negative below it; None without a budget
    budget_miss: int | None = None
    task: str = "classification"
    measures: dict[str, float] = field(default_factory=dict)  #: what else was measured on the test split, by name
    #: how images became tensors, and where each value came from; None in records of earlier versions
    preprocessing: Preprocessing | None = None
    course: Course | None = None  #: from where training led to where; None if it was not measured
    #: how measures were computed, by name, where a name has several definitions in the field. Records of restoration
    #: without it are of luma
    definitions: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of_run(cls, run: RunFolder) -> RunRecord:
        """Read the record of a run that has finished.

        Raises:
            RunError: if it is damaged or was changed.
        """
        try:
            return cls.read(run.record_file)
        except RecordError as error:
            remedy = run.to_finish()
            if run.checkpoint_file.is_file():
                remedy = f"remove it and resume: {remedy} makes it again from the last checkpoint"
            where, found = str(run.record_file), error.found
            raise RunError("cannot read the record", where=where, found=found, remedy=remedy) from error

    @property
    def val_last(self) -> ValidationPoint | None:
        """The last evaluation on the validation split."""
        return self.validation[-1] if self.validation else None

    @property
    def val_best(self) -> ValidationPoint | None:
        """The best one by the task's first measure; for looking at, not for choosing what is tested."""
        first = measures_of(self.task).primary
        best = max if first.larger_is_better else min
        return best(self.validation, key=lambda point: point.measure(first.name) or 0.0, default=None)

    def __str__(self) -> str:
        primary = measures_of(self.task).primary
        first = self.measure(primary.name)
        if self.top1 is not None:
            result = f"top-1 {self.top1:.2%}  top-5 {self.top5:.2%}"
        else:
            result = "not tested" if first is None else f"{primary.name} {first:.4g}"
        return (
            f"{self.method} {self.model} on {self.data}: {result}; {self.epochs} epochs, {self.seconds:.0f} s, "
            f"{self.parameters_trained:,} parameters trained, {self.parameters_shipped:,} shipped"
        )


PRIMARY = {task: measures_of(task).primary.name for task in TASKS}
"""The measure of each task to look at first."""


def by_field(kind: type[Record], measures: Mapping[str, float]) -> dict[str, Any]:
    """Return measures as arguments of a record: those with a field of their own, and the rest as ``measures``."""
    own = {entry.name for entry in dataclasses.fields(kind)}
    return {
        **{name: measures.get(name) for name in _FIELDS if name in own},
        "measures": {name: value for name, value in measures.items() if name not in own},
    }


def hardware(device: torch.device, processes: int = 1) -> str:
    """Describe the hardware that all processes compute on, given the device of this one."""
    if device.type == "cuda":
        return f"{processes} x {torch.cuda.get_device_name(device)}"
    name = _processor() if device.type == "cpu" else f"{platform.machine()} {device.type}"
    threads = torch.get_num_threads()
    share = f"{processes} x {threads}" if processes > 1 else f"{threads}"
    return f"{name}, {share} thread{'' if processes * threads == 1 else 's'}"


def command() -> str:
    """Return the command that started this process, without the folder of the program."""
    program = Path(sys.argv[0]).name
    return shlex.join(["refconv" if program == "__main__.py" else program, *sys.argv[1:]])


def _processor() -> str:
    described = Path("/proc/cpuinfo")
    if described.is_file():
        for line in described.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
