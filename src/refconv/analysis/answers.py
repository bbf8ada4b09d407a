"""What models say about samples, computed once: outputs and features of whole batches, kept for all measures.

Measures that look at outputs or features take them from here. Batches that are kept have their answers kept beside
them; a model is run on the whole batch even where a measure takes its first samples alone, so that a sample's answer,
to the last bit, does not depend on which measures came before.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from refconv.analysis.batches import Batch, Passage, check_batch, checked_classes, run
from refconv.errors import DataError, ModelError

MEMORY = 2**30  # bytes of samples that are kept, so that images are decoded once
_SAID = 2**28  # bytes of answers that are kept


@dataclass(frozen=True)
class Answer:
    """What a model says about a batch of samples.

    ``given`` is what the last linear or convolutional layer to run was given, the mean over positions [batch, numbers],
    and ``layer`` its name; None where there is none.
    """

    outputs: Any
    given: Tensor | None
    layer: str

    def first(self, count: int) -> Answer:
        """Return the same of the first samples."""
        outputs = self.outputs[:count] if isinstance(self.outputs, Tensor) else self.outputs
        return replace(self, outputs=outputs, given=None if self.given is None else self.given[:count])

    @property
    def bytes(self) -> int:
        """How much memory it takes."""
        held = (value for value in (self.outputs, self.given) if isinstance(value, Tensor))
        return sum(value.numel() * value.element_size() for value in held)

    def features(self) -> Tensor:
        """Return ``given`` in float64 on the CPU; refused where a model has no features, or some are not finite."""
        if self.given is None:
            raise ModelError("the model has no features", expected="a linear or convolutional layer that runs")
        if not bool(torch.isfinite(self.given).all()):
            remedy = "check the model and its data"
            raise ModelError("the features are not finite", where=self.layer, remedy=remedy)
        return self.given.double().cpu()


def answer(model: nn.Module, samples: Tensor) -> Answer:
    """Run a model on samples."""
    kept: dict[str, Any] = {"name": "", "value": None}

    def take(name: str, module: nn.Module, given: tuple[Any, ...]) -> None:
        if given and isinstance(given[0], Tensor) and given[0].ndim > 1 and len(given[0]) == len(samples):
            kept.update(name=name, convolution=isinstance(module, _ConvNd), value=given[0])

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if isinstance(module, (_ConvNd, nn.Linear)):
                handle = module.register_forward_pre_hook(lambda m, given, name=name: take(name, m, given))
                stack.callback(handle.remove)
        outputs = run(model, samples)
    value = kept["value"]
    if value is not None:
        positions = range(2, value.ndim) if kept["convolution"] else range(1, value.ndim - 1)
        value = value.double().mean(tuple(positions)).to(value.dtype) if positions else value
    return Answer(outputs, value, kept["name"])


def answers(passage: Passage, *models: nn.Module) -> Iterator[tuple[list[Answer], Tensor]]:
    """Yield, in one pass, what each of some models says about the samples of a batch, and the targets."""
    batches = passage.batches
    if not isinstance(batches, KeptBatches):
        for samples, targets in passage:
            yield [answer(model, samples) for model in models], targets
        return

    def cut(ask: Callable[[nn.Module], Answer], count: int) -> list[Answer]:
        return [ask(model).first(count) for model in models]

    yield from passage.through(batches.asked(), cut)


def scores(passage: Passage, *models: nn.Module) -> Iterator[tuple[list[Tensor], Tensor]]:
    """Yield what each of some classifiers says [batch, classes] in float64, checked, and the targets [batch]."""
    for said, targets in answers(passage, *models):
        found = [checked_classes(model, one.outputs, targets) for model, one in zip(models, said, strict=True)]
        yield found, targets


def embedded(models: Sequence[nn.Module], passage: Passage) -> tuple[list[Tensor], Tensor]:
    """Return the features [samples, numbers] of each model in float64 on the CPU, and the targets [samples]."""
    parts: list[list[Tensor]] = [[] for _ in models]
    known = []
    for said, targets in answers(passage, *models):
        if targets.ndim != 1 or targets.is_floating_point():
            found = f"{targets.dtype} {list(targets.shape)}"
            raise DataError("a batch's targets are no classes", expected="whole numbers [batch]", found=found)
        known.append(targets.long().cpu())
        for one, of_model in zip(said, parts, strict=True):
            of_model.append(one.features())
    return [torch.cat(of_model) for of_model in parts], torch.cat(known)


class KeptBatches:
    """Starts a new pass through batches at each call, from memory as far as they are there.

    ``start`` begins at the first batch, the same ones in the same order each time; batches beyond ``memory`` bytes of
    samples are read in every pass. ``samples``: how many there are in all, where it is known. Answers about them are
    kept as well; models must not change meanwhile.
    """

    def __init__(
        self, start: Callable[[], Iterator[Batch]], memory: int = MEMORY, *, samples: int | None = None
    ) -> None:
        self.samples = samples
        self._start, self._memory, self._answers = start, memory, _SAID
        self._kept: list[Batch] = []
        self._source: Iterator[Batch] = iter(())
        self._following = -1  # the number of the batch that the source gives next
        self._last: tuple[int, Batch] | None = None  # what the source gave last, with its number
        self._count: int | None = None  # of all batches, once known
        self._targets: dict[int, Tensor] = {}  # of batches that something was asked about
        self._said: dict[tuple[int, nn.Module], Answer] = {}  # by the number of the batch

    def __call__(self) -> Iterator[Batch]:
        """Start a pass."""
        for number in itertools.count():
            if (batch := self._batch(number)) is None:
                return
            yield batch

    @property
    def grain(self) -> int:
        """The number of samples of the first batch, 1 if there is none."""
        first = self._batch(0)
        return 1 if first is None else max(1, len(first[1]))

    @property
    def known(self) -> int:
        """The number of first samples about whose batches answers are kept."""
        said = {number for number, _ in self._said}
        return sum(len(self._targets[n]) for n in itertools.takewhile(said.__contains__, itertools.count()))

    def asked(self) -> Iterator[tuple[Callable[[nn.Module], Answer], Tensor]]:
        """Start a pass that gives a function instead of samples, which returns what a model says about a batch."""
        for number in itertools.count():
            targets = self._targets.get(number)
            if targets is None:
                batch = self._batch(number)
                if batch is None:
                    return
                targets = self._targets[number] = batch[1]
            yield partial(self._answer, number), targets

    def _answer(self, number: int, model: nn.Module) -> Answer:
        known = self._said.get((number, model))
        if known is not None:
            return known
        batch = self._batch(number)
        assert batch is not None  # its targets are known
        check_batch(*batch)
        found = answer(model, batch[0])
        if found.bytes <= self._answers:
            self._answers -= found.bytes
            self._said[number, model] = found
        return found

    def _batch(self, number: int) -> Batch | None:
        if number < len(self._kept):
            return self._kept[number]
        return None if number == self._count else self._read(number)

    def _read(self, number: int) -> Batch | None:
        """Read a batch from where the source is, else from a new one; None behind the last."""
        if self._last is not None and self._last[0] == number:
            return self._last[1]
        if number != self._following:
            self._source = itertools.islice(self._start(), number, None)
        batch = next(self._source, None)
        if batch is None:
            self._count, self._following = number, -1
            return None
        self._following = number + 1
        self._last = (number, batch)
        size = batch[0].numel() * batch[0].element_size()
        if number == len(self._kept) and size <= self._memory:
            self._memory -= size
            self._kept.append(batch)
        return batch
