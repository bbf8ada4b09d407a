"""Putting any registered transformation on a model's kernels, in place."""

from __future__ import annotations

from typing import Any

from torch import nn

from refconv.config import TransformConfig
from refconv.layers import Layer, admitted, find_layers, select_trained
from refconv.parametrizations import TRANSFORMS, ForwardScope, KernelTransform, config_of, layout_at
from refconv.surgery.attach import attach
from refconv.surgery.guard import check_names, check_unsharded, check_unwrapped
from refconv.surgery.planning import Plan, describe


def reparametrize(model: nn.Module, config: TransformConfig | str, **settings: Any) -> Plan:
    """Freeze a model's convolution kernels as bases and put a trainable transformation on each.

    In place, and all or nothing, as :func:`refconv.refocus`, which is the case ``"refocus"`` of this. Merging,
    verifying, saving and dropping work the same for all of them.

    Args:
        model: any module with convolutions.
        config: the transformation and its settings, such as ``LowRankConfig(rank=4)``, or its name alone, one of
            :data:`refconv.parametrizations.TRANSFORMS`.
        **settings: with a name, the settings that are not to have their defaults: the fields of its configuration.

    Returns:
        The plan that was carried out.

    Raises:
        SettingError: if there is no such transformation or setting, a value is out of its range, or a pattern
            matches nothing.
        LayerError: if a kernel is transformed already, lazy, without values, not finite, all zero, or shared with one
            that is not chosen. The model is untouched then.
        ModelError: if the model is wrapped, or nothing in it can be transformed.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=8))
        >>> reparametrize(model, "low_rank", rank=2).extra_parameters
        104
        >>> from refconv import LowRankConfig
        >>> reparametrize(nn.Conv2d(3, 8, 3), LowRankConfig(rank=2)).extra_parameters
        70
    """
    complete = config_of(config, settings)
    verb = "refocus" if complete.method == "refocus" else "reparametrize"
    check_unwrapped(model, verb)
    check_names(model, verb)
    choices = select_trained(find_layers(model), complete.include, complete.exclude)
    chosen = admitted(model, choices, [kind.__name__ for kind in TRANSFORMS.values()])
    for layer in chosen:
        check_unsharded(layer)
    done = describe(model, choices, complete)
    scope = ForwardScope()
    transforms: dict[int, tuple[list[Layer], KernelTransform]] = {}
    for layer in chosen:
        assert layer.weight is not None
        if id(layer.weight) not in transforms:
            transforms[id(layer.weight)] = [], transform_at(layer, complete, scope)
        transforms[id(layer.weight)][0].append(layer)
    for sharers, transform in transforms.values():
        attach([layer.module for layer in sharers], transform)
    scope.attach(model)
    return done


def transform_at(layer: Layer, config: TransformConfig, scope: ForwardScope) -> KernelTransform:
    """Return a new transformation for a layer, not yet attached.

    Args:
        layer: the layer.
        config: the transformation and its settings.
        scope: the forward scope of the model.

    Raises:
        SettingError: if a setting does not fit the layer.
    """
    assert layer.weight is not None
    return TRANSFORMS[config.method](layer.label, layer.weight, layout_at(layer, config), scope, config)
