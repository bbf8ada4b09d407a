"""What measures with data share: batches up to a bound of samples, checked classes, models left as found.

Batches come from the caller, normalised and on the models' device. Whatever a measure does happens inside
:func:`observing`, which puts back all that running a model can change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from refconv.errors import DataError, ModelError, SettingError, lacks_memory

C = TypeVar("C")
R = TypeVar("R")

Batch = tuple[Tensor, Tensor]
"""Samples [batch, channels, ...], normalised as the models expect them, and targets [batch, ...], mostly classes."""

Batches = Sequence[Batch] | Callable[[], Iterator[Batch]]
"""Batches that can be gone through again: a sequence of them, or a function that starts over."""

Progress = Callable[[int, int], None]
"""Called with how much is done, in samples or steps of the measure, and how much there is in all, 0 if not known."""

ONE_ARCHITECTURE = "compare two models of one architecture"
PLAIN = "refconv.merged(model) is the plain copy of a refocused model"
LARGEST_SEED = 2**31
_AGAIN = "a list of (samples, targets), or a function that returns an iterator over them"


class Passage:
    """The first samples of some batches, gone through as often as a measure needs, the same in every pass."""

    def __init__(self, batches: Batches, max_samples: int | None = None, progress: Progress | None = None) -> None:
        if max_samples is not None and max_samples < 1:
            raise SettingError("too few", where="max_samples", expected="1 or more, or None", found=str(max_samples))
        if not callable(batches) and not isinstance(batches, Sequence):
            raise DataError("batches cannot be gone through again", expected=_AGAIN, found=type(batches).__name__)
        self.samples = 0  # given out so far in this pass; between passes, those of a pass
        self.cut = False  # whether there are more than the bound lets through; known after the first pass
        self.batches, self._most, self._progress = batches, max_samples, progress
        self._known: int | None = None  # samples of a whole pass
        listed = sum(len(targets) for _, targets in batches) if isinstance(batches, (list, tuple)) else 0
        self._total = min(listed, max_samples or listed) if listed else max_samples or 0

    def __iter__(self) -> Iterator[Batch]:
        """Start a pass: give out the batches, the last one cut where the bound says so."""
        return self.through(self._checked(), lambda samples, count: samples[:count])

    def through(self, batches: Iterator[tuple[C, Tensor]], cut: Callable[[C, int], R]) -> Iterator[tuple[R, Tensor]]:
        """Start a pass through what stands for the samples of each batch, with the targets.

        ``cut`` returns what there is for the first so many samples of a batch, and is asked for nothing else.
        """
        self.samples = 0
        for content, targets in batches:
            if not len(targets):
                continue
            left = len(targets) if self._most is None else self._most - self.samples
            if left < len(targets):
                self.cut = True
            if left <= 0 or self.samples == self._known:
                break
            yield cut(content, min(left, len(targets))), targets[:left]
            self.samples += min(left, len(targets))
            if self._progress is not None:
                self._progress(self.samples, max(self._total, self.samples) if self._total else 0)
        if self._known is not None and self.samples < self._known:
            expected, remedy = f"{self._known} samples in every pass", "give a list, or a function that starts over"
            problem = "batches ended early in a later pass"
            raise DataError(problem, expected=expected, found=str(self.samples), remedy=remedy)
        if not self.samples:
            raise DataError("there are no samples to measure on", remedy="give at least one batch that is not empty")
        self._known = self.samples

    def _checked(self) -> Iterator[Batch]:
        for samples, targets in self.batches() if callable(self.batches) else self.batches:
            if self._known is None:
                check_batch(samples, targets)
            yield samples, targets


@contextmanager
def evaluating(*models: nn.Module) -> Iterator[None]:
    """Put models into eval mode for a while; every module's mode and the random numbers are as before afterwards."""
    modes = [(module, module.training) for model in models for module in model.modules()]
    devices = {tensor.device for model in models for tensor in model.parameters() if tensor.is_cuda}
    with torch.random.fork_rng(sorted(devices, key=str)):
        try:
            for model in models:
                model.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def observing(*models: nn.Module) -> Iterator[None]:
    """Check models and put them into eval mode for a while; their buffers, too, are as before afterwards."""
    for model in models:
        check_sound(model)
    buffers = [(buffer, buffer.detach().clone()) for model in models for buffer in model.buffers()]
    with evaluating(*models):
        try:
            yield
        finally:
            with torch.no_grad():
                for buffer, found in buffers:
                    if not torch.equal(buffer, found):
                        buffer.copy_(found)


def check_sound(model: Any) -> None:
    """Refuse what is no module, or has weights without values or that are not finite."""
    if not isinstance(model, nn.Module):
        raise ModelError("there is nothing to analyse", expected="a torch.nn.Module", found=type(model).__name__)
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor) or tensor.is_meta:
            raise ModelError("the weight has no values yet", where=name, remedy="load the model's weights first")
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise ModelError("the weight has entries that are not finite", where=name, remedy="load valid weights")


def classify(model: nn.Module, samples: Tensor, targets: Tensor) -> Tensor:
    """Return a classifier's outputs [batch, classes] in float64; the targets [batch] are checked against them."""
    _check_classes(targets)
    return checked_classes(model, run(model, samples), targets)


def checked_classes(model: nn.Module, outputs: object, targets: Tensor) -> Tensor:
    """Return outputs in float64 if they are a classifier's, and those of the targets [batch]."""
    _check_classes(targets)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(targets) or outputs.shape[1] < 2:
        found = str(list(outputs.shape)) if isinstance(outputs, Tensor) else type(outputs).__name__
        expected = f"outputs [{len(targets)}, 2 or more classes]"
        raise ModelError("the model does not classify", where=type(model).__name__, expected=expected, found=found)
    if not bool(torch.isfinite(outputs).all()):
        raise ModelError("the model's outputs are not finite", where=type(model).__name__)
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[1]:
        expected, found = f"0 to {outputs.shape[1] - 1}", str(low if low < 0 else high)
        remedy = "analyse the model on the data it was trained for"
        raise DataError("a target is no class of the model", expected=expected, found=found, remedy=remedy)
    return outputs.double()


def run(model: nn.Module, samples: Tensor) -> object:
    """Return what a model says about samples; a ModelError if it does not take them."""
    with taking(model, samples.shape[1:]):
        return model(samples.clone())  # a first layer that works in place must not change the data


@contextmanager
def taking(model: nn.Module, shape: Sequence[int]) -> Iterator[None]:
    """Say so in one line where a model does not take samples of a shape."""
    name, expected = type(model).__name__, f"samples of shape {list(shape)} accepted"
    with refused("the model does not take this data", where=name, expected=expected):
        yield


@contextmanager
def refused(problem: str, **about: str) -> Iterator[None]:
    """Make a ModelError of what torch raises; too little memory stays what it is."""
    try:
        yield
    except RuntimeError as error:
        if lacks_memory(error):
            raise
        raise ModelError(problem, found=str(error), **about) from error


def check_same(first: Mapping[str, Any], second: Mapping[str, Any], what: str, or_else: str = "") -> None:
    """Refuse two models one of which has layers or weights that the other does not have, or has otherwise."""
    remedy, only = f"{ONE_ARCHITECTURE}{or_else}", []
    for side, one, other in (("first", first, second), ("second", second, first)):
        names = [name for name in one if name not in other]
        if names:
            only.append(f"{len(names)} only in the {side} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    if only:
        problem, expected = f"the two models differ in their {what}", f"the same {what} in both"
        raise ModelError(problem, expected=expected, found=", ".join(only), remedy=remedy)
    for name in first:
        if first[name] != second[name]:
            expected, found = str(first[name]), str(second[name])
            raise ModelError("the two models differ", where=name, expected=expected, found=found, remedy=remedy)


def check_least(least: int, problem: str = "too few", **settings: int) -> None:
    """Refuse settings that are smaller than what they must be."""
    for name, value in settings.items():
        if value < least:
            raise SettingError(problem, where=name, expected=f"{least} or more", found=str(value))


def drawn(samples: Tensor, first: int, seed: int, *, normal: bool) -> Tensor:
    """Return random numbers of the shape of a batch that depend on the seed and each sample's place in the data alone.

    However the data are cut into batches, and whatever the model, sample number i meets the same numbers: standard
    normal ones, else uniform ones from -1 to 1. ``first`` is the place of the first sample.
    """
    rows = []
    for place in range(first, first + len(samples)):
        generator = torch.Generator().manual_seed(seed * LARGEST_SEED + place)
        draw = torch.randn if normal else torch.rand
        numbers = draw(samples.shape[1:], generator=generator, dtype=torch.float64)
        rows.append(numbers if normal else 2 * numbers - 1)
    return torch.stack(rows).to(samples)


def _check_classes(targets: Tensor) -> None:
    if targets.ndim != 1 or targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        found = f"{targets.dtype} {list(targets.shape)}"
        raise DataError("a batch's targets are no classes", expected="whole numbers [batch]", found=found)


def check_batch(samples: Any, targets: Any) -> None:
    """Refuse what is no batch, or has samples that are not finite."""
    if not isinstance(samples, Tensor) or not isinstance(targets, Tensor):
        found = f"({type(samples).__name__}, {type(targets).__name__})"
        raise DataError("a batch is a pair of tensors", expected="(samples, targets)", found=found)
    if not samples.ndim or not targets.ndim or len(samples) != len(targets):
        found = f"samples {list(samples.shape)}, targets {list(targets.shape)}"
        raise DataError("samples and targets do not fit each other", expected="one target a sample", found=found)
    if samples.is_floating_point() and not bool(torch.isfinite(samples).all()):
        raise DataError("the samples are not finite", expected="no infinity and no NaN")
