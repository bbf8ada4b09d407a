"""What measures with data share: batches up to a bound of samples or of time, checked classes, models left as found.

Batches come from the caller, normalised and on the models' device. Whatever a measure does happens inside
:func:`observing`, which puts back all that running a model can change.

A bound on the time bounds the number of samples and nothing else: a measure is taken on few, timed, and taken on as
many as fit; the record is exactly that of ``max_samples`` of this number.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from refconv.errors import DataError, ModelError, SettingError

P = ParamSpec("P")
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
MEMORY = 2**30  # bytes of samples that are kept, so that images are decoded once

FEWEST = 8
"""Samples that are taken however long they last; others come in multiples, so that no batch has a single one."""

_TRIALS = (FEWEST, FEWEST, 2 * FEWEST, 8 * FEWEST, 64 * FEWEST)  # the first one also warms up
_SHARE = 0.25  # of the time left that a trial may take


class Passage:
    """The first samples of some batches, gone through as often as a measure needs, the same in every pass."""

    def __init__(self, batches: Batches, max_samples: int | None = None, progress: Progress | None = None) -> None:
        if max_samples is not None and max_samples < 1:
            raise SettingError("too few", where="max_samples", expected="1 or more, or None", found=str(max_samples))
        if not callable(batches) and not isinstance(batches, Sequence):
            raise DataError("batches cannot be gone through again", expected=_AGAIN, found=type(batches).__name__)
        self.samples = 0  # given out so far in this pass; between passes, those of a pass
        self.cut = False  # whether there are more than the bound lets through; known after the first pass
        self._batches, self._most, self._progress = batches, max_samples, progress
        self._known: int | None = None  # samples of a whole pass
        listed = sum(len(targets) for _, targets in batches) if isinstance(batches, (list, tuple)) else 0
        self._total = min(listed, max_samples or listed) if listed else max_samples or 0

    def __iter__(self) -> Iterator[Batch]:
        """Start a pass: give out the batches, the last one cut where the bound says so."""
        self.samples = 0
        for samples, targets in self._batches() if callable(self._batches) else self._batches:
            if self._known is None:
                _check_batch(samples, targets)
            if not len(samples):
                continue
            left = len(samples) if self._most is None else self._most - self.samples
            if left < len(samples):
                self.cut = True
            if left <= 0 or self.samples == self._known:
                break
            yield samples[:left], targets[:left]
            self.samples += min(left, len(samples))
            if self._progress is not None:
                self._progress(self.samples, max(self._total, self.samples) if self._total else 0)
        if self._known is not None and self.samples < self._known:
            expected, remedy = f"{self._known} samples in every pass", "give a list, or a function that starts over"
            problem = "batches ended early in a later pass"
            raise DataError(problem, expected=expected, found=str(self.samples), remedy=remedy)
        if not self.samples:
            raise DataError("there are no samples to measure on", remedy="give at least one batch that is not empty")
        self._known = self.samples


class KeptBatches:
    """Starts a new pass through batches at each call, from memory as far as they are there.

    ``start`` begins at the first batch, the same ones in the same order each time; batches beyond ``memory`` bytes of
    samples are read in every pass.
    """

    def __init__(self, start: Callable[[], Iterator[Batch]], memory: int = MEMORY) -> None:
        self._start, self._memory = start, memory
        self._kept: list[Batch] = []
        self._source: Iterator[Batch] = iter(())
        self._following = -1  # the number of the batch that the source gives next
        self._count: int | None = None  # of all batches, once known

    def __call__(self) -> Iterator[Batch]:
        """Start a pass."""
        for number in itertools.count():
            if number < len(self._kept):
                yield self._kept[number]
            elif number == self._count or (batch := self._read(number)) is None:
                return
            else:
                yield batch

    def _read(self, number: int) -> Batch | None:
        """Read a batch from where the source is, else from a new one; None behind the last."""
        if number != self._following:
            self._source = itertools.islice(self._start(), number, None)
        batch = next(self._source, None)
        if batch is None:
            self._count, self._following = number, -1
            return None
        self._following = number + 1
        size = batch[0].numel() * batch[0].element_size()
        if number == len(self._kept) and size <= self._memory:
            self._memory -= size
            self._kept.append(batch)
        return batch


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
    if targets.ndim != 1 or targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        found = f"{targets.dtype} {list(targets.shape)}"
        raise DataError("a batch's targets are no classes", expected="whole numbers [batch]", found=found)
    outputs = run(model, samples)
    if not isinstance(outputs, Tensor) or outputs.ndim != 2 or len(outputs) != len(samples) or outputs.shape[1] < 2:
        found = str(list(outputs.shape)) if isinstance(outputs, Tensor) else type(outputs).__name__
        expected = f"outputs [{len(samples)}, 2 or more classes]"
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
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
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


def _check_batch(samples: Any, targets: Any) -> None:
    if not isinstance(samples, Tensor) or not isinstance(targets, Tensor):
        found = f"({type(samples).__name__}, {type(targets).__name__})"
        raise DataError("a batch is a pair of tensors", expected="(samples, targets)", found=found)
    if not samples.ndim or not targets.ndim or len(samples) != len(targets):
        found = f"samples {list(samples.shape)}, targets {list(targets.shape)}"
        raise DataError("samples and targets do not fit each other", expected="one target a sample", found=found)
    if samples.is_floating_point() and not bool(torch.isfinite(samples).all()):
        raise DataError("the samples are not finite", expected="no infinity and no NaN")


def timed(work: Callable[..., float] | None = None, **trial: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Let :func:`within` handle the argument ``max_seconds`` of a measure, which does not look at it itself.

    A trial with the arguments ``trial`` does less for each sample; ``work`` tells from the measure's arguments how many
    times as much the measure does. Without them, the measure itself is tried.
    """

    def decorated(measure: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(measure)
        def measured(*args: P.args, **settings: P.kwargs) -> R:
            seconds: Any = settings.pop("max_seconds", None)
            if seconds is None:
                return measure(*args, **settings)
            given = inspect.signature(measure).bind(*args, **settings)
            given.apply_defaults()
            most, progress = given.arguments["max_samples"], given.arguments["progress"]
            again = functools.partial(measure, *args, **settings)
            quick = functools.partial(again, **trial) if work else None
            share = 1 / (work(**given.arguments) or 1) if work else 1.0
            return within(seconds, again, most, progress, trial=quick, share=share)

        return measured

    return decorated


def within(
    seconds: float,
    measure: Callable[..., R],
    max_samples: int | None,
    progress: Progress | None,
    *,
    trial: Callable[..., R] | None = None,
    share: float = 1.0,
) -> R:
    """Take a measure on as many samples as a time allows, about.

    ``measure`` is called with ``max_samples`` and ``progress``. ``trial`` does less for each sample, in a ``share`` of
    the time. The fewest samples are taken even if they last longer.
    """
    if not seconds > 0:
        raise SettingError("no time", where="max_seconds", expected="above 0, or None", found=str(seconds))
    begin = time.perf_counter()
    before = (0, 0.0)
    for count, following in zip(_TRIALS, (*_TRIALS[1:], _TRIALS[-1]), strict=True):
        if max_samples is not None and count >= max_samples:
            return measure(max_samples=max_samples, progress=progress)
        start = time.perf_counter()
        found = (trial or measure)(max_samples=count, progress=None)
        now = (count, time.perf_counter() - start)
        left = seconds - (time.perf_counter() - begin)
        fitting = _fitting(before, now, left * share)
        if max_samples is not None and fitting >= max_samples:
            return measure(max_samples=max_samples, progress=progress)
        if now[1] + (following - count) * _each(before, now) > _SHARE * left:
            break
        before = now
    if trial is None and fitting <= count:
        return found
    return measure(max_samples=max(fitting, FEWEST), progress=progress)


def _each(before: tuple[int, float], now: tuple[int, float]) -> float:
    """Return the seconds that a further sample takes, from (samples, seconds) of two trials, the earlier first."""
    if now[0] == before[0]:
        return now[1] / now[0]
    return max(now[1] - before[1], 0) / (now[0] - before[0])


def _fitting(before: tuple[int, float], now: tuple[int, float], seconds: float) -> int:
    """Return how many samples fit into a time, a multiple of the fewest.

    In proportion to the last trial; where two trials say that a call costs more than its samples, up to eight times it.
    """
    samples, spent = now
    proportional = samples * seconds / max(spent, 1e-12)
    linear = samples + (seconds - spent) / max(_each(before, now), 1e-12)
    if seconds < spent:
        return max(0, int(min(proportional, linear) // FEWEST)) * FEWEST
    return int(max(proportional, min(linear, 8 * samples)) // FEWEST) * FEWEST
