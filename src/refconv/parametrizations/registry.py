"""The registry of kernel transformations, and their settings checked by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refconv.config import GramConfig, TransformConfig
from refconv.errors import SettingError, did_you_mean
from refconv.layers import Layer
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform
from refconv.parametrizations.combination import Combination
from refconv.parametrizations.continuous import Continuous
from refconv.parametrizations.density import Density
from refconv.parametrizations.free import Free
from refconv.parametrizations.low_rank import LowRank
from refconv.parametrizations.lr_scaled import LrScaled
from refconv.parametrizations.points import Points
from refconv.parametrizations.random_base import RandomBase
from refconv.parametrizations.refocus import Refocus
from refconv.parametrizations.separable import Separable
from refconv.parametrizations.shuffled import Shuffled
from refconv.parametrizations.spacings import Spacings
from refconv.parametrizations.standardize import Standardize
from refconv.parametrizations.weight_norm import WeightNorm

TRANSFORMS: dict[str, type[KernelTransform]] = {
    kind.config_class.method: kind
    for kind in (
        Refocus,
        Shuffled,
        RandomBase,
        Free,
        LrScaled,
        LowRank,
        Density,
        Combination,
        Spacings,
        Points,
        Continuous,
        Separable,
        WeightNorm,
        Standardize,
    )
}
"""Every transformation by the name that users give."""


def transform_named(name: str) -> type[KernelTransform]:
    """Return the transformation of a name.

    Raises:
        SettingError: if there is none.
    """
    if name not in TRANSFORMS:
        raise SettingError(
            "unknown transformation",
            where=name,
            expected=f"one of {', '.join(TRANSFORMS)}",
            remedy=did_you_mean(name, TRANSFORMS),
        )
    return TRANSFORMS[name]


def config_of(method: TransformConfig | str, settings: Mapping[str, Any]) -> TransformConfig:
    """Return the configuration of a transformation, checked.

    Args:
        method: the configuration itself, or the name of the transformation.
        settings: with a name, settings that are not to have their defaults.

    Raises:
        SettingError: if there is no such transformation or setting, a value is out of its range, or a configuration
            is given with settings beside it.

    Example:
        >>> config_of("low_rank", {"rank": 2}).settings()
        {'rank': 2, 'scale': 1.0}
    """
    if isinstance(method, str):
        return transform_named(method).config_class.of(None, settings)
    if type(method) not in [kind.config_class for kind in TRANSFORMS.values()]:
        raise SettingError(
            "neither a configuration nor the name of a transformation", where="config", found=repr(method)
        )
    return type(method).of(method, settings)


def layout_at(layer: Layer, config: TransformConfig) -> Layout:
    """Return how a transformation of this configuration gathers the slices of a layer into blocks."""
    return layer.layout(config.order) if isinstance(config, GramConfig) else layer.layout()
