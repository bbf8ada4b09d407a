"""A model's loss at other weights than its own, without touching the model.

Weights are passed to the model's forward; the model itself keeps its own. Statistics of batch normalisation belong to
the weights they were collected with, so at other weights they are collected anew.

Note [Recalibration]: every batch-norm layer normalises by the statistics of the batch while those of all batches are
pooled, as in "precise batch norm" (Wu and Johnson, Rethinking "Batch" in BatchNorm, arXiv 2105.07576, section 3). The
pooled variance holds the variance between batches too, which the mean of the batches' variances would leave out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from refconv.analysis.batches import Batches, Passage, check_sound
from refconv.analysis.directions import Values
from refconv.analysis.losses import Loss, classification_loss
from refconv.errors import DataError, ModelError
from refconv.measures.landscape import Conditions


class Probe:
    """The loss of one model at weights to be given.

    Args:
        model: plain, with finite weights; left as found by everything here.
        batches: what the loss is taken over.
        calibration: what batch-norm statistics are collected on; the same batches if None.
        loss: mean over a batch; by default cross-entropy.

    Attributes:
        model: the model.
        parameters: copies of its parameters by name, of half precision as float32.
        buffers: the same of its buffers.
        norms: names of batch-norm layers that keep statistics.

    Raises:
        ModelError: if the model is parametrized, without values or not finite.
    """

    def __init__(
        self, model: nn.Module, batches: Passage, calibration: Passage | None = None, loss: Loss | None = None
    ) -> None:
        check_plain(model)
        self.model = model
        self.batches = batches
        self.calibration = calibration or batches
        self.parameters = {name: _copied(value) for name, value in model.named_parameters()}
        self.buffers = {name: _copied(value) for name, value in model.named_buffers()}
        self.norms = [
            name
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and module.running_mean is not None
        ]
        self._loss = loss or classification_loss
        self._dtype = next(iter(self.parameters.values())).dtype

    @property
    def conditions(self) -> Conditions:
        """What losses were measured on; known when one has been."""
        return Conditions(
            samples=self.batches.samples,
            cut=self.batches.cut,
            calibration_samples=self.calibration.samples if self.norms else 0,
            calibration_cut=self.calibration.cut and bool(self.norms),
            norms=len(self.norms),
        )

    def as_is(self) -> float:
        """Return the loss of the model as it is, with the statistics that it has.

        Raises:
            ModelError: if it is not finite.
        """
        found = self.evaluated(self.parameters, self.buffers)
        if found is None:
            raise ModelError("the model's loss is not finite", where=type(self.model).__name__)
        return found

    def at(self, parameters: Values, buffers: Values | None = None) -> float | None:
        """Return the loss at given parameters, batch norms recalibrated; None if it is not finite.

        Args:
            parameters: values for all parameters.
            buffers: values for all buffers; by default the model's own.
        """
        return self.evaluated(parameters, self.recalibrated(parameters, buffers))

    def evaluated(self, parameters: Values, buffers: Values) -> float | None:
        """Return the loss at given parameters and buffers, in eval mode; None if it is not finite."""
        total = 0.0
        with evaluating(self.model), torch.no_grad():
            for samples, targets in self.batches:
                total += float(self.batch_loss(parameters, _cloned(buffers), samples, targets)) * len(samples)
        mean = total / self.batches.samples
        return mean if math.isfinite(mean) else None

    def batch_loss(self, parameters: Values, buffers: Values, samples: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss of one batch at given values, in the mode that the model is in.

        Raises:
            ModelError: if the loss is not one number.
        """
        outputs = self._outputs(parameters, buffers, samples)
        loss = self._loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = str(list(loss.shape)) if isinstance(loss, Tensor) else type(loss).__name__
            raise ModelError("the loss is not one number", expected="the mean over the batch", found=found)
        return loss.reshape(())

    def recalibrated(self, parameters: Values, buffers: Values | None = None) -> Values:
        """Return buffers with batch-norm statistics collected at given parameters; see Note [Recalibration].

        Layers that no sample passes through keep the statistics that they have.

        Args:
            parameters: values for all parameters.
            buffers: where to start from; by default the model's own.
        """
        buffers = _cloned(self.buffers if buffers is None else buffers)
        if not self.norms:
            return buffers
        modules = dict(self.model.named_modules())
        pools = {name: _Pool(name) for name in self.norms}
        with evaluating(self.model), torch.no_grad(), ExitStack() as stack:
            for name, pool in pools.items():
                modules[name].training = True  # its own flag alone: what it contains stays in eval mode
                handle = modules[name].register_forward_pre_hook(lambda _, inputs, pool=pool: pool.add(inputs[0]))
                stack.callback(handle.remove)
            for samples, _ in self.calibration:
                self._outputs(parameters, _cloned(buffers), samples)
        for name, pool in pools.items():
            if pool.count:
                _write(buffers, name, "running_mean", pool.mean)
                _write(buffers, name, "running_var", pool.variance)
        return buffers

    def _outputs(self, parameters: Values, buffers: Values, samples: Tensor) -> Any:
        # a copy: a first layer that works in place must not change the data
        fitting = samples.to(self._dtype if samples.is_floating_point() else samples.dtype, copy=True)
        try:
            return functional_call(self.model, {**parameters, **buffers}, (fitting,))
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ModelError(
                "the model does not take this data",
                where=type(self.model).__name__,
                expected=f"samples {list(samples.shape)} accepted",
                found=str(error),
            ) from error


def pair_probes(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    calibration: Batches | None = None,
    loss: Loss | None = None,
    max_samples: int | None = None,
) -> tuple[Probe, Probe]:
    """Return probes of two models of one architecture over the same batches.

    Args:
        before: the first model, plain.
        after: the second.
        batches: what the loss is taken over.
        calibration: what batch-norm statistics are collected on; the same batches if None.
        loss: mean over a batch; by default cross-entropy.
        max_samples: how many samples of either to take at most.

    Raises:
        ModelError: if a model cannot be measured, or the two differ in their parameters or buffers.
        DataError: if the batches cannot be used.
        SettingError: if ``max_samples`` is less than one.
    """
    check_plain(before)
    check_plain(after)
    check_alike(before, after)
    bounded = Passage(batches, max_samples)
    collected = Passage(calibration, max_samples) if calibration is not None else bounded
    return Probe(before, bounded, collected, loss), Probe(after, bounded, collected, loss)


def check_plain(model: nn.Module) -> None:
    """Check that a model can be measured.

    Raises:
        ModelError: if it is no module, parametrized, without values, or not finite.
    """
    check_sound(model)
    for name, module in model.named_modules():
        if parametrize.is_parametrized(module):
            raise ModelError(
                "the weights are parametrized; analysis reads plain models",
                where=name or type(model).__name__,
                remedy="refconv.merged(model) is the plain copy of a refocused model",
            )
    if not any(value.is_floating_point() for value in model.parameters()):
        raise ModelError("the model has no weights", where=type(model).__name__)


def check_alike(before: nn.Module, after: nn.Module) -> None:
    """Check that two models hold the same parameters and buffers, by names and shapes.

    Raises:
        ModelError: if they do not.
    """
    first, second = (
        {name: list(value.shape) for name, value in (*model.named_parameters(), *model.named_buffers())}
        for model in (before, after)
    )
    remedy = "compare two models of one architecture"
    for name in [*first, *second]:
        if name not in first or name not in second:
            where = "first" if name in first else "second"
            raise ModelError("the two models differ", expected="the same weights in both",
                             found=f"{name} only in the {where}", remedy=remedy)  # fmt: skip
        if first[name] != second[name]:
            raise ModelError("the two models differ", where=name, expected=str(first[name]), found=str(second[name]),
                             remedy=remedy)  # fmt: skip


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put a model into eval mode for a while; every module's mode and the random numbers are as before afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    devices = sorted({value.device.index or 0 for value in model.parameters() if value.is_cuda})
    with torch.random.fork_rng(devices):
        try:
            model.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode


class _Pool:
    """Mean and variance per channel of all that passed, in float64: batches joined by their counts."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.count = 0
        self.mean = torch.zeros(())
        self._squares = torch.zeros(())

    def add(self, inputs: Tensor) -> None:
        """Take in one input [batch, channels, *positions].

        Raises:
            DataError: if it has one value per channel only.
        """
        count = inputs.numel() // inputs.shape[1]
        if count < 2:
            raise DataError(
                "one value per channel has no variance",
                where=self._name,
                remedy="recalibrate on batches of at least two samples",
            )
        mean, variance = _statistics(inputs.detach())
        squares = variance * (count - 1)
        if self.count:
            total = self.count + count
            shift = mean - self.mean
            squares = self._squares + squares + shift.square() * (self.count * count / total)
            mean = self.mean + shift * (count / total)
        self.count, self.mean, self._squares = self.count + count, mean, squares

    @property
    def variance(self) -> Tensor:
        """Unbiased, as batch norm keeps it."""
        return self._squares / (self.count - 1)


def _statistics(inputs: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and unbiased variance per channel of inputs [batch, channels, *positions], in float64.

    Batch norm itself, told to forget what it had: on a CPU four times as quick as to take them from the inputs.
    """
    mean, variance = inputs.new_zeros(inputs.shape[1]), inputs.new_ones(inputs.shape[1])
    F.batch_norm(inputs, mean, variance, training=True, momentum=1.0)
    return mean.double(), variance.double()


def _write(buffers: Values, module: str, name: str, value: Tensor) -> None:
    key = f"{module}.{name}" if module else name
    buffers[key] = value.to(buffers[key].dtype)


def _copied(value: Tensor) -> Tensor:
    copy = value.detach().clone()
    return copy.float() if copy.dtype in {torch.float16, torch.bfloat16} else copy


def _cloned(values: Mapping[str, Tensor]) -> Values:
    return {name: value.clone() for name, value in values.items()}
