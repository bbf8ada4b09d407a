"""Batch norms whose statistics are those of the whole batch, over all processes, while a model is trained.

torch's SyncBatchNorm computes them on accelerators; on the CPU, for which it has none, :class:`_Norm` does. A norm's
class is exchanged and nothing else of it, so that parameters, buffers and names stay as they are, and putting the
classes back makes the model plain again, and its moving average too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from refconv.errors import RecipeError
from refconv.process.distributed import Processes


class _Sum(torch.autograd.Function):
    """The sum of a tensor over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, own: Tensor) -> Tensor:
        total = own.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


class _Norm(_BatchNorm):
    """Batch norm over all processes by two sums, of the values and of their squared distances from the mean.

    DDP refuses to wrap a SyncBatchNorm on the CPU, so this is none.
    """

    def forward(self, samples: Tensor) -> Tensor:
        """Normalise [n, C, *]; while training, by the batches of all processes, which train at the same time."""
        if not self.training or not dist.is_initialized():
            return super().forward(samples)
        values = samples.float() if samples.dtype in {torch.bfloat16, torch.float16} else samples
        others = [dim for dim in range(values.ndim) if dim != 1]
        shape = [1, -1] + [1] * (values.ndim - 2)
        own = values.new_tensor([values.numel() / values.shape[1]])
        sums = _Sum.apply(torch.cat([values.sum(others), own]))
        mean, count = sums[:-1] / sums[-1].detach(), sums[-1].detach()
        centred = values - mean.view(shape)
        variance = _Sum.apply(centred.square().sum(others)) / count
        self._follow(mean.detach(), variance.detach(), count)
        found: Tensor = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            found = found * self.weight.view(shape)
        if self.bias is not None:
            found = found + self.bias.view(shape)
        return found.to(samples.dtype)

    def _check_input_dim(self, samples: Tensor) -> None:
        """Take samples of any number of dimensions, as SyncBatchNorm does."""

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics, as torch's batch norm does."""
        if not self.track_running_stats or self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
        self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), share)


class _NormAct(_Norm):
    """timm's batch norm with its activation."""

    drop: nn.Module
    act: nn.Module

    def forward(self, samples: Tensor) -> Tensor:
        """Normalise, drop out and activate."""
        found: Tensor = self.act(self.drop(super().forward(samples)))
        return found


_PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_SYNCHRONISED: Mapping[str, Mapping[type[nn.Module], type[nn.Module]]] = {
    "cuda": {**dict.fromkeys(_PLAIN, nn.SyncBatchNorm), BatchNormAct2d: SyncBatchNormAct},
    "cpu": {**dict.fromkeys(_PLAIN, _Norm), BatchNormAct2d: _NormAct},
}
"""The classes of batch norms, by the kind of device."""

Classes = Mapping[str, type[nn.Module]]


def synchronise_norms(model: nn.Module, processes: Processes) -> Classes:
    """Let batch norms share their statistics; return the classes that they had, by their names. One process has none.

    Raises:
        RecipeError: if the model has no batch norms, or they cannot be synchronised on this device.
    """
    found = {name: type(part) for name, part in model.named_modules() if type(part) in _SYNCHRONISED["cpu"]}
    if not found:
        what, remedy = f"{type(model).__name__} has no batch norms to synchronise", "leave it out"
        raise RecipeError(what, where="sync_bn", remedy=remedy)
    if processes.alone:
        return {}
    kind = processes.device.type
    if kind not in _SYNCHRONISED:
        what, remedy = "batch norms are synchronised on cpu and cuda only", "leave it out"
        raise RecipeError(what, where="sync_bn", found=f"{processes.world_size} processes on {kind}", remedy=remedy)
    _set_classes(model, {name: _SYNCHRONISED[kind][own] for name, own in found.items()})
    for name in found:
        model.get_submodule(name).process_group = None  # type: ignore[assignment]  # of all processes
    return found


def separate_norms(model: nn.Module, classes: Classes) -> None:
    """Put the classes of batch norms back, in a model or in its average."""
    _set_classes(model, classes)
    for name in classes:
        del model.get_submodule(name).process_group


def _set_classes(model: nn.Module, classes: Classes) -> None:
    for name, own in classes.items():
        model.get_submodule(name).__class__ = own
