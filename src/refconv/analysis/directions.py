"""Random directions in the space of weights, filter by filter as long as the filter itself.

Li et al. (Visualizing the loss landscape of neural nets, arXiv 1712.09913, section 4): a random direction d is scaled
to d_f <- d_f / |d_f| |w_f| for every filter f; biases and parameters of normalisations do not move. A network computes
the same after a filter is scaled before its normalisation, and filter-normalised distances do not see that either, so
two models can be compared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvTransposeNd

from refconv.errors import ModelError

Values = dict[str, Tensor]
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def filter_norms(model: nn.Module, values: Values) -> Values:
    """Return the norm of each filter, to be broadcast to the shape of the weight that it is part of.

    A filter is all that makes one output channel: a row of a linear layer, the kernel [in / groups, *kernel_size] of a
    convolution, transposed or not. Of other parameters of two dimensions or more, the first counts the filters.
    Biases, parameters of normalisations and others of one dimension are left out.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> filter_norms(model, {"weight": torch.tensor([[3.0, 4.0]]), "bias": torch.ones(1)})
        {'weight': tensor([[5.]])}
    """
    found = {name: norms(values[name]) for name, norms in _readers(model).items()}
    if not found:
        raise ModelError("the model has no filters to move", where=type(model).__name__)
    return found


def filter_sizes(model: nn.Module, values: Values) -> Values:
    """Return how many entries each filter has, in the shapes of :func:`filter_norms`."""
    return {name: norms(torch.ones_like(values[name])).square().round() for name, norms in _readers(model).items()}


def draw(model: nn.Module, values: Values, generator: torch.Generator) -> Values:
    """Return one normal direction whose filters have norm one, in the layers that :func:`filter_norms` looks at.

    The generator is of the CPU, so that every device sees the same direction.
    """
    drawn = {
        name: torch.randn(values[name].shape, generator=generator, dtype=torch.float64).to(values[name])
        for name in _readers(model)
    }
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


def _readers(model: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """Per parameter that has filters, what reads their norms; a shared parameter once, under its first name."""
    found: dict[str, Callable[[Tensor], Tensor]] = {}
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            if parameter.ndim < 2 or isinstance(module, _NORMS) or not parameter.is_floating_point():
                continue
            groups = module.groups if isinstance(module, _ConvTransposeNd) else 0
            found.setdefault(names[id(parameter)], _transposed(groups) if groups else _rows)
    return {name: found[name] for name in names.values() if name in found}


def _rows(values: Tensor) -> Tensor:
    found: Tensor = torch.linalg.vector_norm(values, dim=tuple(range(1, values.ndim)), keepdim=True)
    return found


def _transposed(groups: int) -> Callable[[Tensor], Tensor]:
    def norms(values: Tensor) -> Tensor:  # [in, out / groups, *kernel_size]
        grouped = values.flatten(2).reshape(groups, -1, *values.shape[1:2], values[0, 0].numel())
        found: Tensor = torch.linalg.vector_norm(grouped, dim=(1, 3), keepdim=True).expand(*grouped.shape[:3], 1)
        return found.reshape(*values.shape[:2], *[1] * (values.ndim - 2))

    return norms
