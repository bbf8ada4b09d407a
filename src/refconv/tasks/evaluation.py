"""Evaluation of a model on one split: what every task's result has, and the classifier's."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from refconv.data import Data, Split
from refconv.errors import ModelError
from refconv.process.distributed import Processes
from refconv.records import Record
from refconv.surgery import evaluating

CALIBRATION_BINS = 15
"""Bins of equal width that cut the confidences from 0 to 1; a confidence on a border belongs to the bin below it."""


@dataclass(frozen=True)
class Evaluation(Record):
    """How well a model does on a split; each task has a subclass of its own.

    Attributes:
        samples: how many samples were evaluated.
    """

    samples: int

    def measures(self) -> dict[str, float]:
        """Return what was measured, by name; what has no value here is left out."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {
            name: float(value)
            for name, value in values.items()
            if name != "samples" and isinstance(value, (int, float)) and not math.isnan(value)
        }

    @property
    def finite(self) -> bool:
        """Whether the loss is a finite number, where the task has one."""
        return math.isfinite(getattr(self, "loss", 0.0))

    def classes(self) -> dict[str, float | None]:
        """Return the task's first measure for each class, by name; empty where it has none."""
        return {}


@dataclass(frozen=True)
class ClassificationEvaluation(Evaluation):
    """How well a classifier does on a split.

    Attributes:
        samples: how many samples were evaluated.
        top1: share of samples whose class has the largest output.
        top5: share of samples whose class is among the five largest outputs, or among all if there are fewer.
        loss: mean cross-entropy.
        ece: expected calibration error of the first class (Guo et al. 2017, arXiv 1706.04599): over
            :data:`CALIBRATION_BINS` bins of equal width in confidence, the mean distance between confidence and
            accuracy, weighted by the samples of the bin. None where it was not measured.
    """

    top1: float
    top5: float
    loss: float
    ece: float | None = None

    def __str__(self) -> str:
        return f"top-1 {self.top1:.2%}  top-5 {self.top5:.2%}  loss {self.loss:.4f}  on {self.samples:,} samples"


@contextmanager
def uncompiled(model: nn.Module) -> Iterator[None]:
    """Run a model as it is within the block: compiling it for a few batches or sizes would cost more than they do."""
    compiled, model._compiled_call_impl = model._compiled_call_impl, None
    try:
        yield
    finally:
        model._compiled_call_impl = compiled


def evaluate(
    model: nn.Module,
    data: Data,
    split: Split = "test",
    *,
    batch_size: int = 256,
    device: torch.device | None = None,
    amp: bool = False,
    channels_last: bool = False,
    processes: Processes | None = None,
) -> ClassificationEvaluation:
    """Evaluate a model on every sample of a split, once; the model's mode is put back afterwards.

    Args:
        model: a classifier on ``device``, plain or refocused.
        data: the data.
        split: ``train``, ``val`` or ``test``; training samples are not augmented.
        batch_size: samples at a time, in each process.
        device: where the model is; by default where its first parameter is.
        amp: compute in bf16 where that is safe.
        channels_last: give images in channels-last format.
        processes: the processes that share the work; by default this one alone.

    Raises:
        ModelError: if the model does not take the samples, or gives too few classes.
    """
    first = next(model.parameters(), None)
    device = device or (first.device if first is not None else torch.device("cpu"))
    processes = processes or Processes(0, 1, device)
    autocast, place = autocasting(device, amp), placing(device, channels_last)
    totals = torch.zeros(3, dtype=torch.float64, device=None if device.type == "mps" else device)
    calibration = torch.zeros(CALIBRATION_BINS, dtype=torch.float64, device=totals.device)
    samples = 0
    batches = data.eval_batches(split, batch_size=batch_size, rank=processes.rank, world_size=processes.world_size)
    with evaluating(model), torch.no_grad():
        for inputs, labels in batches:
            inputs, labels = place(inputs), labels.to(device, non_blocking=True)
            with autocast():
                outputs = forward(model, inputs, classes=data.info.num_classes)
            totals += _scores(outputs.float(), labels).to(totals.device)
            calibration += _calibration(outputs.float(), labels).to(totals.device)
            samples += len(labels)
    top1, top5, loss, count, *gaps = processes.sums([*totals.tolist(), float(samples), *calibration.tolist()])
    return ClassificationEvaluation(int(count), top1 / count, top5 / count, loss / count, sum(map(abs, gaps)) / count)


def forward(model: nn.Module, inputs: Tensor, *, classes: int) -> Tensor:
    """Return a classifier's outputs, [batch, at least ``classes``].

    Raises:
        ModelError: if it does not take the samples, or gives something else.
        OutOfMemoryError: as torch raises it.
    """
    try:
        outputs = model(inputs)
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise ModelError(
            "the model does not take this data",
            where=type(model).__name__,
            expected=f"samples of shape {list(inputs.shape[1:])} accepted",
            found=str(error),
        ) from error
    check_classes(model, inputs, outputs, classes=classes)
    return cast(Tensor, outputs)


def check_classes(model: nn.Module, inputs: Tensor, outputs: object, *, classes: int) -> None:
    """Check that a classifier's outputs are [batch, at least ``classes``].

    Raises:
        ModelError: if they are something else.
    """
    logits = isinstance(outputs, Tensor) and outputs.ndim == 2
    shape = list(outputs.shape) if isinstance(outputs, Tensor) else type(outputs).__name__
    if not isinstance(outputs, Tensor) or not logits or outputs.shape[1] < classes:
        raise ModelError(
            "the model's output does not fit the classes of the data",
            where=type(model).__name__,
            expected=f"[{len(inputs)}, {classes}]",
            found=str(shape),
            remedy="give the model that many classes" if logits else "let its forward return the logits alone",
        )


def autocasting(device: torch.device, amp: bool) -> Callable[[], AbstractContextManager[object]]:
    """Return what makes the context of one forward: bf16 autocast, or none."""
    return partial(torch.autocast, device.type, torch.bfloat16) if amp else nullcontext


def placing(device: torch.device, channels_last: bool) -> Callable[[Tensor], Tensor]:
    """Return what brings a batch of samples to a device, images in channels-last format if asked for."""

    def place(inputs: Tensor) -> Tensor:
        if channels_last and inputs.ndim == 4:
            return inputs.to(device, non_blocking=True, memory_format=torch.channels_last)
        return inputs.to(device, non_blocking=True)

    return place


def _scores(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return the numbers of top-1 and top-5 hits and the sum of the losses, float64 [3]."""
    hits = outputs.topk(min(5, outputs.shape[1]), dim=1).indices == labels[:, None]
    loss = F.cross_entropy(outputs, labels, reduction="sum")
    return torch.stack([hits[:, 0].sum().double(), hits.sum().double(), loss.double()])


def _calibration(outputs: Tensor, labels: Tensor) -> Tensor:
    """Return, per bin of confidence, the sum over its samples of hit minus confidence, float64 [bins]."""
    confidences, classes = outputs.softmax(dim=1).max(dim=1)
    bins = (confidences * CALIBRATION_BINS).ceil().long().clamp(1, CALIBRATION_BINS) - 1
    gaps = (classes == labels).double() - confidences.double()
    return torch.zeros(CALIBRATION_BINS, dtype=torch.float64, device=outputs.device).index_add_(0, bins, gaps)
