"""Output maps of a model's layers, for measures that look into it at one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from refconv.analysis.batches import run
from refconv.errors import ModelError


@contextmanager
def recording(modules: Mapping[str, nn.Module], dimensions: int) -> Iterator[dict[str, Tensor]]:
    """Record the output maps of some modules while a model runs.

    Of a module that runs several times, the last output; none of outputs that are not one tensor of so many dimensions.
    Hooks are taken off at the end.

    Args:
        modules: by the names under which maps are recorded.
        dimensions: of a map, batch and channels counted.

    Returns:
        The maps, in the order in which modules ran.
    """
    recorder = _Recorder(modules, dimensions)
    try:
        yield recorder.maps
    finally:
        recorder.remove()


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
    with torch.no_grad(), recording(convolutions, samples.ndim) as maps:
        run(model, samples[:1])
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


def module_named(model: nn.Module, layer: str) -> nn.Module:
    """Return a module by name.

    Raises:
        ModelError: if there is none.
    """
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if layer not in modules:
        raise ModelError("there is no such layer", where=layer, remedy="take a name of model.named_modules()")
    return modules[layer]
