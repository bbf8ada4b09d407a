"""Output maps of a model's layers, for measures that look into it at one place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from refconv.analysis.batches import run
from refconv.errors import ModelError


@contextmanager
def recording(modules: Mapping[str, nn.Module], dimensions: int) -> Iterator[dict[str, Tensor]]:
    """Record the output maps of some modules while a model runs, in the order in which they run.

    Of a module that runs several times, the last output; none of outputs that are not one tensor of so many dimensions,
    batch and channels counted. Later layers get a copy, so that none can change a map in place.
    """
    maps: dict[str, Tensor] = {}

    def keep(name: str, output: Any) -> Any:
        if not isinstance(output, Tensor) or output.ndim != dimensions:
            return output
        maps.pop(name, None)  # the last call is the one that counts, also in the order
        maps[name] = output
        return output.clone()

    with ExitStack() as stack:
        for name, module in modules.items():
            handle = module.register_forward_hook(lambda _, __, output, name=name: keep(name, output))
            stack.callback(handle.remove)
        yield maps


def last_map(model: nn.Module, samples: Tensor) -> str:
    """Return the name of the last convolution to run whose map has more than one position; the first sample is run."""
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


def module_named(model: nn.Module, layer: str) -> nn.Module:
    """Return a module by name."""
    modules: dict[str, nn.Module] = dict(model.named_modules())
    if layer not in modules:
        raise ModelError("there is no such layer", where=layer, remedy="take a name of model.named_modules()")
    return modules[layer]
