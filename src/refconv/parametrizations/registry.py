"""The registry of kernel transformations, and their settings checked by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from refconv.config import GramConfig, TransformConfig
from refconv.errors import SettingError, did_you_mean
from refconv.layers import Layer
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform
from refconv.parametrizations.filterwise import Combination, LowRank, Standardize, WeightNorm
from refconv.parametrizations.refocus import Free, LrScaled, RandomBase, Refocus, Shuffled
from refconv.parametrizations.spatial import Continuous, Density, Points, Separable, Spacings

_KINDS: tuple[type[KernelTransform], ...] = (
    *(Refocus, Shuffled, RandomBase, Free, LrScaled, LowRank, Density),
    *(Combination, Spacings, Points, Continuous, Separable, WeightNorm, Standardize),
)

TRANSFORMS = {kind.config_class.method: kind for kind in _KINDS}  #: Every transformation by the name that users give


def transform_named(name: str) -> type[KernelTransform]:
    """Return the transformation of a name.

    Raises:
        SettingError: if there is none.
    """
    if name not in TRANSFORMS:
        expected, remedy = f"one of {', '.join(TRANSFORMS)}", did_you_mean(name, TRANSFORMS)
        raise SettingError("unknown transformation", where=name, expected=expected, remedy=remedy)
    return TRANSFORMS[name]


def config_of(method: TransformConfig | str, settings: Mapping[str, Any]) -> TransformConfig:
    """Return the configuration of a transformation, checked: itself, or one of single settings for a name."""
    if isinstance(method, str):
        return transform_named(method).config_class.of(None, settings)
    if type(method) not in [kind.config_class for kind in TRANSFORMS.values()]:
        what = "neither a configuration nor the name of a transformation"
        raise SettingError(what, where="config", found=repr(method))
    return type(method).of(method, settings)


def layout_at(layer: Layer, config: TransformConfig) -> Layout:
    """Return how a transformation of this configuration gathers the slices of a layer into blocks."""
    return layer.layout(config.order) if isinstance(config, GramConfig) else layer.layout()
