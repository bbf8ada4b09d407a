"""Geometry, or only learning rates? How much of refocusing's step c g explains, for one c a network, layer or block.

Refocusing multiplies a gradient g by M = G~^power / c_S^2. Of |g M|^2 the best number for a set of blocks explains

    <g, g M>^2 / (|g|^2 |g M|^2),     each of the three summed over the set          (docs/math.md)

In float64, whatever the model's dtype.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from refconv.config import RefocusConfig, RefocusSettings
from refconv.errors import ModelError, SettingError
from refconv.gradspace.groups import KernelSpec
from refconv.gradspace.metric import Metric, gathered
from refconv.layers import Layer, admitted, find_layers, select_trained
from refconv.measures.steps import ExplainedShare, LayerStep, StepShares
from refconv.ops import mean_of_metric

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class _Products:
    """|g|^2, <g, g M> and |g M|^2 of the blocks of one layer, [b] each."""

    layer: Layer
    gradient: Tensor
    along: Tensor
    step: Tensor
    mean: float

    def explained(self) -> float:
        """Return what a number for each block explains of |g M|^2."""
        alive = self.gradient > 0
        return float((self.along[alive].square() / self.gradient[alive]).sum())


def step_shares(
    model: nn.Module,
    gradients: Mapping[str, Tensor] | None = None,
    *,
    batch: Any = None,
    loss: Callable[[Any], Tensor] | None = None,
    config: RefocusConfig | None = None,
    **settings: Unpack[RefocusSettings],
) -> StepShares:
    """Measure how much of a step of refocusing is explained by a learning rate of the network, of layers, of blocks.

    Args:
        model: any plain module with convolutions, in the mode in which gradients are to be taken. It is left as found.
        gradients: of the loss by the kernels, by the names of layers or parameters; by default their ``grad``.
        batch: what the model is called with, in place of gradients.
        loss: of what the model returns for the batch, a number.
        config: all settings of refocusing.
        **settings: single settings in place of ``config``.

    Raises:
        SettingError: if only one of batch and loss is given, or gradients beside them, or a setting is out of range.
        ModelError: if a chosen kernel has no gradient, or nothing can be refocused.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, groups=4))
        >>> found = step_shares(model, batch=torch.randn(2, 3, 8, 8), loss=lambda output: output.square().mean())
        >>> [(share.kind, share.layers) for share in found.shares]
        [('all', 2), ('dense', 1), ('depthwise', 1)]
        >>> all(share.network <= share.layer <= share.block <= 1 for share in found.shares)
        True
    """
    config = RefocusConfig.of(config, settings)
    choices = select_trained(find_layers(model), config.include, config.exclude, one_tap=config.one_tap)
    layers = list({id(layer.weight): layer for layer in reversed(admitted(model, choices))}.values())[::-1]
    if (batch is None) != (loss is None) or (batch is not None and gradients is not None):
        expected = "gradients, or batch and loss, or neither for those that parameters hold"
        raise SettingError("cannot tell which gradients", where="gradients", expected=expected)
    if batch is not None and loss is not None:
        gradients = _of_batch(model, layers, batch, loss)
    found = [_products(layer, _gradient(layer, gradients), config) for layer in layers]
    kinds = dict.fromkeys(layer.kind for layer in layers)
    shares = [_share(kind, [one for one in found if one.layer.kind == kind]) for kind in kinds]
    size = config.map_size
    return StepShares(
        layers=tuple(map(_layer_step, found)),
        shares=(_share("all", found), *shares),
        map_size=(size,) if isinstance(size, int) else tuple(size),
        order=config.order,
        scale=config.scale,
        power=config.power,
        damping=config.damping,
    )


def _of_batch(
    model: nn.Module, layers: Sequence[Layer], batch: Any, loss: Callable[[Any], Tensor]
) -> dict[str, Tensor]:
    """Return the gradients of a batch; statistics of norms, which a forward pass may move, are put back."""
    kept = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    try:
        with torch.enable_grad():
            weights = [layer.weight for layer in layers if layer.weight is not None]
            found = torch.autograd.grad(loss(model(batch)), weights, allow_unused=True)
    finally:
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
    return {layer.name: one for layer, one in zip(layers, found, strict=True) if one is not None}


def _gradient(layer: Layer, gradients: Mapping[str, Tensor] | None) -> Tensor:
    """Return the gradient by a layer's kernel."""
    assert layer.weight is not None
    found = layer.weight.grad if gradients is None else gradients.get(layer.name, gradients.get(layer.key))
    if found is None or found.shape != layer.weight.shape:
        expected = f"a gradient of shape {list(layer.weight.shape)}"
        shape = "none" if found is None else str(list(found.shape))
        remedy = f"a backward pass first, or exclude={layer.name!r}"
        raise ModelError("has no gradient to measure", where=layer.label, expected=expected, found=shape, remedy=remedy)
    return gathered(found.detach())


@torch.no_grad()
def _products(layer: Layer, gradient: Tensor, config: RefocusConfig) -> _Products:
    assert layer.weight is not None
    wide = torch.complex128 if gradient.is_complex() else torch.float64
    spec, base = KernelSpec.of(layer, config), gathered(layer.weight.detach()).to(wide)
    metric, layout = Metric.of(spec, base), spec.layout
    own = gradient.to(wide) if metric.mask is None else gradient.to(wide) * metric.mask
    g, moved = layout.to_blocks(own), layout.to_blocks(metric.apply(own))
    means = mean_of_metric(layout.to_blocks(base), layout.slice_size, spec.map_size, **spec.shape)
    gradients, along, steps = (product.sum((1, 2)) for product in (g.square(), g * moved, moved.square()))
    return _Products(layer, gradients, along, steps, float(means.mean()))


def _layer_step(one: _Products) -> LayerStep:
    gradient, along, step = (float(sums.sum()) for sums in (one.gradient, one.along, one.step))
    return LayerStep(
        layer=one.layer.label,
        kind=one.layer.kind,
        cosine=along / (gradient * step) ** 0.5 if step > 0 else None,
        block=one.explained() / step if step > 0 else None,
        best=along / gradient if gradient > 0 else None,
        mean=one.mean,
        energy=step,
    )


def _share(kind: str, found: Sequence[_Products]) -> ExplainedShare:
    """Return what is explained over layers."""
    gradients, alongs, steps = ([float(getattr(one, name).sum()) for one in found] for name in _SUMS)
    total, layers = sum(steps), 0.0
    if total == 0:
        return ExplainedShare(kind, len(found), None, None, None)
    for gradient, along in zip(gradients, alongs, strict=True):
        layers += along**2 / gradient if gradient > 0 else 0.0
    network = sum(alongs) ** 2 / sum(gradients)
    blocks = sum(one.explained() for one in found)
    return ExplainedShare(kind, len(found), network / total, layers / total, blocks / total)


_SUMS = ("gradient", "along", "step")
