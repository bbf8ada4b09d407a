"""Batch norms whose statistics are those of the whole batch, over all processes, while a model is trained.

torch's SyncBatchNorm computes them. A norm's class is exchanged and nothing else of it, so that parameters, buffers and
names stay as they are, and putting the classes back makes the model plain again, and its moving average too.
"""

from __future__ import annotations

from collections.abc import Mapping

from timm.layers import BatchNormAct2d, SyncBatchNormAct
from torch import nn

from refconv.errors import RecipeError
from refconv.process.distributed import Processes

_SYNCHRONISED: dict[type[nn.Module], type[nn.Module]] = {
    **dict.fromkeys((nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d), nn.SyncBatchNorm),
    BatchNormAct2d: SyncBatchNormAct,
}

Classes = Mapping[str, type[nn.Module]]


def synchronise_norms(model: nn.Module, processes: Processes) -> Classes:
    """Let batch norms share their statistics; return the classes that they had, by their names. One process has none.

    Raises:
        RecipeError: if the model has no batch norms, or torch cannot synchronise them on this device.
    """
    found = {name: type(part) for name, part in model.named_modules() if type(part) in _SYNCHRONISED}
    if not found:
        what, remedy = f"{type(model).__name__} has no batch norms to synchronise", "leave it out"
        raise RecipeError(what, where="sync_bn", remedy=remedy)
    if processes.alone:
        return {}
    if processes.device.type == "cpu":
        what, remedy = "torch synchronises batch norms on accelerators only", "leave it out"
        raise RecipeError(what, where="sync_bn", found=f"{processes.world_size} processes on the CPU", remedy=remedy)
    _set_classes(model, {name: _SYNCHRONISED[own] for name, own in found.items()})
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
