"""Putting any registered transformation on a model's kernels, in place."""

from __future__ import annotations

from typing import Any

from torch import nn

from refconv.parametrizations import TRANSFORMS, ForwardScope, KernelTransform, complete_settings
from refconv.sites import Selection, Site, admitted, find_sites, select_trained
from refconv.surgery.attach import attach
from refconv.surgery.guard import check_names, check_unsharded, check_unwrapped
from refconv.surgery.planning import Plan, describe


def reparametrize(
    model: nn.Module, name: str, *, include: Selection = None, exclude: Selection = None, **settings: Any
) -> Plan:
    """Freeze a model's convolution kernels as bases and put a trainable transformation on each.

    In place, and all or nothing, as :func:`refconv.refocus`, which is the case ``"refocus"`` of this. Merging,
    verifying, saving and dropping work the same for all of them.

    Args:
        model: any module with convolutions.
        name: the transformation, one of :data:`refconv.parametrizations.TRANSFORMS`.
        include: kinds, globs or regular expressions of the sites to transform; by default every kernel with more
            than one tap. See :func:`refconv.sites.select`.
        exclude: the same for sites to leave out.
        **settings: of the transformation; see its class.

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
    """
    complete = complete_settings(name, settings)
    verb = "refocus" if name == "refocus" else "reparametrize"
    check_unwrapped(model, verb)
    check_names(model, verb)
    choices = select_trained(find_sites(model), include, exclude)
    chosen = admitted(model, choices, [kind.__name__ for kind in TRANSFORMS.values()])
    for site in chosen:
        check_unsharded(site)
    done = describe(model, choices, name, complete)
    scope = ForwardScope()
    transforms: dict[int, tuple[list[Site], KernelTransform]] = {}
    for site in chosen:
        assert site.weight is not None
        if id(site.weight) not in transforms:
            transforms[id(site.weight)] = [], transform_at(site, name, complete, scope)
        transforms[id(site.weight)][0].append(site)
    for sharers, transform in transforms.values():
        attach([site.module for site in sharers], transform)
    scope.attach(model)
    return done


def transform_at(site: Site, name: str, settings: dict[str, Any], scope: ForwardScope) -> KernelTransform:
    """Return a new transformation for a site, not yet attached.

    Args:
        site: the site.
        name: the transformation.
        settings: all its settings.
        scope: the forward scope of the model.

    Raises:
        SettingError: if a setting does not fit the site.
    """
    assert site.weight is not None
    own = dict(settings)
    layout = site.layout(own.pop("order", "contiguous"))
    if "map_size" in own:
        own["map_size"] = site.map_size(own["map_size"])
    return TRANSFORMS[name](site.label, site.weight, layout, scope, **own)
