"""The registry of kernel transformations, and their settings checked by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from refconv.errors import SettingError
from refconv.ops import Scale
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
    "refocus": Refocus,
    "shuffled": Shuffled,
    "random": RandomBase,
    "free": Free,
    "lr_scaled": LrScaled,
    "low_rank": LowRank,
    "density": Density,
    "combination": Combination,
    "spacings": Spacings,
    "points": Points,
    "continuous": Continuous,
    "separable": Separable,
    "weight_norm": WeightNorm,
    "standardize": Standardize,
}
"""Every transformation by the name that users give."""

_RENAMED = {"normalize": "scale = normalized in place of normalize = true, scale = paper in place of false"}


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
            remedy=_closest(name, TRANSFORMS),
        )
    return TRANSFORMS[name]


def name_of(transform: KernelTransform) -> str:
    """Return the name under which a transformation is registered."""
    return next(name for name, kind in TRANSFORMS.items() if kind is type(transform))


def has_gram_scale(name: str) -> bool:
    """Return whether a transformation's ``scale`` is that of the Gram; others may have scales of their own."""
    return transform_named(name).defaults().get("scale") in get_args(Scale)


def complete_settings(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings of a transformation, checked: those given, and the defaults of the others.

    Args:
        name: the transformation.
        given: settings by name.

    Raises:
        SettingError: if there is no such transformation or setting, or a value is out of its range.

    Example:
        >>> complete_settings("low_rank", {"rank": 2})
        {'rank': 2, 'scale': 1.0}
    """
    kind = transform_named(name)
    defaults = kind.defaults()
    for setting in given:
        if setting not in defaults:
            raise SettingError(
                f"{name} has no such setting",
                where=setting,
                expected=f"one of {', '.join(defaults)}" if defaults else "no settings",
                remedy=_RENAMED.get(setting, _closest(setting, defaults)),
            )
    settings = {**defaults, **given}
    kind.check(**settings)
    return settings


def _closest(name: str, known: Iterable[str]) -> str | None:
    closest = difflib.get_close_matches(name, known, n=3)
    return f"did you mean {' or '.join(closest)}?" if closest else None
