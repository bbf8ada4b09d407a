"""A model's loss at other weights than its own, without touching the model.

Weights are passed to the model's forward; the model itself keeps its own. Statistics of batch normalisation belong to
the weights they were collected with, so at other weights they are collected anew.

Note [Recalibration]: every batch-norm layer normalises by the statistics of the batch while those of all batches are
pooled, as in "precise batch norm" (Wu and Johnson, Rethinking "Batch" in BatchNorm, arXiv 2105.07576, section 3). The
pooled variance holds the variance between batches too, which the mean of the batches' variances would leave out.

Note [Directions]: a random direction d is filter-normalised, d_f <- d_f / |d_f| |w_f| for every filter f; biases and
parameters of normalisations do not move (Li et al., Visualizing the loss landscape of neural nets, arXiv 1712.09913,
section 4). A network computes the same after a filter is scaled before its normalisation, and filter-normalised
distances do not see that either, so two models can be compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvTransposeNd
from torch.nn.utils import parametrize

from refconv.analysis.batches import PLAIN, Batches, Passage, check_same, check_sound, evaluating, taking
from refconv.errors import DataError, ModelError
from refconv.measures.landscape import Conditions

Values = dict[str, Tensor]  #: Parameters, buffers or directions of a model, by name
Loss: TypeAlias = Callable[[Any, Tensor], Tensor]
"""(outputs, targets) -> the mean loss over the samples of a batch, one number."""

_UNMOVED = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_OWN_LOSS = "give the loss of this kind of model as loss="


class Probe:
    """The loss of one model at weights to be given; the model is left as found by everything here.

    Parameters and buffers are copies, of half precision as float32; norms are the batch-norm layers with statistics.
    """

    def __init__(
        self, model: nn.Module, batches: Passage, calibration: Passage | None = None, loss: Loss | None = None
    ) -> None:
        check_sound(model)
        for name, module in model.named_modules():
            if parametrize.is_parametrized(module):
                problem = "the weights are parametrized; analysis reads plain models"
                raise ModelError(problem, where=name or type(model).__name__, remedy=PLAIN)
        if not any(value.is_floating_point() for value in model.parameters()):
            raise ModelError("the model has no weights", where=type(model).__name__)
        self.model = model
        self.batches = batches
        self.calibration = calibration or batches
        self.parameters = {name: _copied(value) for name, value in model.named_parameters()}
        self.buffers = {name: _copied(value) for name, value in model.named_buffers()}
        norms = {name: module for name, module in model.named_modules() if isinstance(module, _BatchNorm)}
        self.norms = [name for name, module in norms.items() if module.running_mean is not None]
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
        """Return the loss of the model as it is, with the statistics that it has."""
        found = self.evaluated(self.parameters, self.buffers)
        if found is None:
            raise ModelError("the model's loss is not finite", where=type(self.model).__name__)
        return found

    def at(self, parameters: Values, buffers: Values | None = None) -> float | None:
        """Return the loss at given values of all parameters, batch norms recalibrated; None if it is not finite."""
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
        """Return the mean loss of one batch at given values, in the mode that the model is in."""
        outputs = self._outputs(parameters, buffers, samples)
        loss = self._loss(outputs, targets)
        if not isinstance(loss, Tensor) or loss.numel() != 1:
            found = str(list(loss.shape)) if isinstance(loss, Tensor) else type(loss).__name__
            raise ModelError("the loss is not one number", expected="the mean over the batch", found=found)
        return loss.reshape(())

    def recalibrated(self, parameters: Values, buffers: Values | None = None) -> Values:
        """Return buffers with batch-norm statistics collected at given parameters; see Note [Recalibration].

        They start from the model's own. Layers that no sample passes through keep the statistics that they have.
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
                variance = pool.squares / (pool.count - 1)  # unbiased, as batch norm keeps it
                for entry, value in (("running_mean", pool.mean), ("running_var", variance)):
                    key = f"{name}.{entry}" if name else entry
                    buffers[key] = value.to(buffers[key].dtype)
        return buffers

    def _outputs(self, parameters: Values, buffers: Values, samples: Tensor) -> Any:
        # a copy: a first layer that works in place must not change the data
        fitting = samples.to(self._dtype if samples.is_floating_point() else samples.dtype, copy=True)
        with taking(self.model, samples.shape[1:]):
            return functional_call(self.model, {**parameters, **buffers}, (fitting,))


def pair_probes(
    before: nn.Module,
    after: nn.Module,
    batches: Batches,
    *,
    calibration: Batches | None = None,
    loss: Loss | None = None,
    max_samples: int | None = None,
) -> tuple[Probe, Probe]:
    """Return probes of two models of one architecture over the same batches, at most ``max_samples`` of either."""
    bounded = Passage(batches, max_samples)
    collected = Passage(calibration, max_samples) if calibration is not None else bounded
    probes = Probe(before, bounded, collected, loss), Probe(after, bounded, collected, loss)
    held = ((*model.named_parameters(), *model.named_buffers()) for model in (before, after))
    first, second = ({name: list(value.shape) for name, value in values} for values in held)
    check_same(first, second, "weights")
    return probes


def classification_loss(outputs: Any, targets: Tensor) -> Tensor:
    """Return the mean cross-entropy of scores [batch, classes, *positions] and classes [batch, *positions], checked."""
    if not isinstance(outputs, Tensor) or outputs.ndim < 2:
        found = str(list(outputs.shape)) if isinstance(outputs, Tensor) else type(outputs).__name__
        problem = "the model's outputs are no scores of classes"
        raise ModelError(problem, expected="[batch, classes]", found=found, remedy=_OWN_LOSS)
    shape = [len(outputs), *outputs.shape[2:]]
    if targets.is_floating_point() or list(targets.shape) != shape:
        problem, found = "targets are no classes of these outputs", f"{targets.dtype} {list(targets.shape)}"
        raise DataError(problem, expected=f"integers {shape}", found=found, remedy=_OWN_LOSS)
    low, high = int(targets.min()), int(targets.max())
    if low < 0 or high >= outputs.shape[1]:
        problem, expected = "targets name classes that the model does not have", f"0 to {outputs.shape[1] - 1}"
        raise DataError(problem, expected=expected, found=f"{low} to {high}")
    return F.cross_entropy(outputs, targets.long())


def filter_norms(model: nn.Module, values: Values) -> Values:
    """Return the norm of each filter, to be broadcast to the shape of the weight that it is part of.

    A filter is all that makes one output channel: a row of a linear layer, the kernel [in / groups, *kernel_size] of a
    convolution, transposed or not. Of other parameters of two dimensions or more, the first counts the filters.
    Biases, parameters of normalisations and others of one dimension are left out.
    """
    found = {name: _norms(values[name], groups) for name, groups in _filters(model).items()}
    if not found:
        raise ModelError("the model has no filters to move", where=type(model).__name__)
    return found


def filter_sizes(model: nn.Module, values: Values) -> Values:
    """Return how many entries each filter has, in the shapes of :func:`filter_norms`."""
    ones = {name: torch.ones_like(value) for name, value in values.items()}
    return {name: norms.square().round() for name, norms in filter_norms(model, ones).items()}


def draw(model: nn.Module, values: Values, generator: torch.Generator) -> Values:
    """Return one normal direction whose filters have norm one; the generator of the CPU gives all devices the same."""
    shapes = {name: values[name].shape for name in _filters(model)}
    numbers = ((name, torch.randn(shape, generator=generator, dtype=torch.float64)) for name, shape in shapes.items())
    drawn = {name: entries.to(values[name]) for name, entries in numbers}
    return {name: drawn[name] / norms for name, norms in filter_norms(model, drawn).items()}


def moved(values: Values, *steps: tuple[float, Values]) -> Values:
    """Return parameters moved by the sum of distance * direction; names that a direction does not have stay."""
    found = dict(values)
    for distance, direction in steps:
        for name, entries in direction.items():
            found[name] = found[name] + distance * entries
    return found


def scaled(direction: Values, norms: Values) -> Values:
    """Return a direction of unit filters, each brought to the norm of a model's filter."""
    return {name: entries * norms[name] for name, entries in direction.items()}


def _filters(model: nn.Module) -> dict[str, int]:
    """Per parameter that has filters, the groups of a transposed convolution, else 0; a shared parameter once."""
    found: dict[str, int] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim > 1 and not isinstance(module, _UNMOVED) and parameter.is_floating_point():
                groups = module.groups if isinstance(module, _ConvTransposeNd) else 0
                found.setdefault(names[id(parameter)], groups)
    return {name: found[name] for name in names.values() if name in found}


def _norms(values: Tensor, groups: int) -> Tensor:
    if not groups:
        rows: Tensor = torch.linalg.vector_norm(values, dim=tuple(range(1, values.ndim)), keepdim=True)
        return rows
    grouped = values.flatten(2).reshape(groups, -1, *values.shape[1:2], values[0, 0].numel())
    found: Tensor = torch.linalg.vector_norm(grouped, dim=(1, 3), keepdim=True).expand(*grouped.shape[:3], 1)
    return found.reshape(*values.shape[:2], *[1] * (values.ndim - 2))  # of [in, out / groups, *kernel_size]


class _Pool:
    """Mean and variance per channel of all that passed, in float64: batches joined by their counts."""

    def __init__(self, name: str) -> None:
        self._name = name
        self.count = 0
        self.mean = torch.zeros(())
        self.squares = torch.zeros(())

    def add(self, inputs: Tensor) -> None:
        """Take in one input [batch, channels, *positions]."""
        count = inputs.numel() // inputs.shape[1]
        if count < 2:
            remedy = "recalibrate on batches of at least two samples"
            raise DataError("one value per channel has no variance", where=self._name, remedy=remedy)
        # Batch norm itself, told to forget what it had: on a CPU four times as quick as taking them from the inputs.
        means, variances = inputs.new_zeros(inputs.shape[1]), inputs.new_ones(inputs.shape[1])
        F.batch_norm(inputs.detach(), means, variances, training=True, momentum=1.0)
        mean, squares = means.double(), variances.double() * (count - 1)
        if self.count:
            total = self.count + count
            shift = mean - self.mean
            squares = self.squares + squares + shift.square() * (self.count * count / total)
            mean = self.mean + shift * (count / total)
        self.count, self.mean, self.squares = self.count + count, mean, squares


def _copied(value: Tensor) -> Tensor:
    copy = value.detach().clone()
    return copy.float() if copy.dtype in {torch.float16, torch.bfloat16} else copy


def _cloned(values: Mapping[str, Tensor]) -> Values:
    return {name: value.clone() for name, value in values.items()}
