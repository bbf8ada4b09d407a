"""Putting any registered transformation on a model's kernels, in place."""

from __future__ import annotations

from typing import Any

from torch import nn

from refconv.config import TransformConfig
from refconv.parametrizations import TRANSFORMS, ForwardScope, KernelTransform, config_of, layout_at
from refconv.sites import Site, admitted, find_sites, select_trained
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
        SiteError: if a kernel is transformed already, lazy, without values, not finite, all zero, or shared with one
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
    choices = select_trained(find_sites(model), complete.include, complete.exclude)
    chosen = admitted(model, choices, [kind.__name__ for kind in TRANSFORMS.values()])
    for site in chosen:
        check_unsharded(site)
    done = describe(model, choices, complete)
    scope = ForwardScope()
    transforms: dict[int, tuple[list[Site], KernelTransform]] = {}
    for site in chosen:
        assert site.weight is not None
        if id(site.weight) not in transforms:
            transforms[id(site.weight)] = [], transform_at(site, complete, scope)
        transforms[id(site.weight)][0].append(site)
    for sharers, transform in transforms.values():
        attach([site.module for site in sharers], transform)
    scope.attach(model)
    return done


def transform_at(site: Site, config: TransformConfig, scope: ForwardScope) -> KernelTransform:
    """Return a new transformation for a site, not yet attached.

    Args:
        site: the site.
        config: the transformation and its settings.
        scope: the forward scope of the model.

    Raises:
        SettingError: if a setting does not fit the site.
    """
    assert site.weight is not None
    return TRANSFORMS[config.method](site.label, site.weight, layout_at(site, config), scope, config)
