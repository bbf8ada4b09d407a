"""Output maps of a model's layers, for measures that look into it at one place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from refconv.analysis.batches import run
from refconv.errors import ModelError


def recorded_maps(model: nn.Module, samples: Tensor, modules: Mapping[str, nn.Module]) -> dict[str, Tensor]:
    """Run a model and return the output maps of some of its modules, in the order in which they ran.

    Of a module that runs several times, the last output; none of outputs that are not one tensor of as many dimensions
    as the samples have.

    Args:
        model: any model; hooks are taken off again.
        samples: a batch [batch, channels, *spatial].
        modules: by the names that the result has.

    Raises:
        ModelError: if the model does not take the samples.
    """
    recorder = _Recorder(modules, samples.ndim)
    try:
        run(model, samples)
    finally:
        recorder.remove()
    return recorder.maps


def last_map(model: nn.Module, samples: Tensor) -> str:
    """Return the name of the last convolution to run whose map has more than one position.

    Args:
        model: any model.
        samples: a batch [batch, channels, *spatial]; its first sample is run.

    Raises:
        ModelError: if there is no such convolution, or the model does not take the sample.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    convolutions = {name: module for name, module in modules.items() if isinstance(module, _ConvNd)}
    with torch.no_grad():
        maps = recorded_maps(model, samples[:1], convolutions)
    names = [name for name, output in maps.items() if output.shape[2:].numel() > 1]
    if not names:
        raise ModelError(
            "no convolution gives a map of more than one position",
            where=type(model).__name__,
            remedy="give larger samples, or name a layer",
        )
    return names[-1]


class _Recorder:
    """Keeps the output maps of some modules; later layers get a copy, so that none can change them in place."""

    def __init__(self, modules: Mapping[str, nn.Module], dimensions: int) -> None:
        self.maps: dict[str, Tensor] = {}
        self._dimensions = dimensions
        self._handles = [module.register_forward_hook(self._hook(name)) for name, module in modules.items()]

    def _hook(self, name: str) -> Any:
        def keep(module: nn.Module, inputs: Any, output: Any) -> Any:
            del module, inputs
            if not isinstance(output, Tensor) or output.ndim != self._dimensions:
                return output
            self.maps.pop(name, None)  # the last call is the one that counts, also in the order
            self.maps[name] = output
            return output.clone()

        return keep

    def remove(self) -> None:
        for handle in self._handles:
            handle.remove()
