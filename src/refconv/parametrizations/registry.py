"""The registry of kernel transformations, and their settings checked by name."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

from refconv.config import GramConfig, TransformConfig
from refconv.errors import SettingError, did_you_mean
from refconv.layers import Layer
from refconv.ops import Layout
from refconv.parametrizations.base import KernelTransform
from refconv.parametrizations.filterwise import Combination, LowRank, NullSpace, Standardize, Tucker, WeightNorm
from refconv.parametrizations.refocus import Free, LrScaled, RandomBase, Refocus, Shuffled
from refconv.parametrizations.spatial import Continuous, Density, Points, Separable, Spacings
from refconv.parametrizations.waves import Gabor, Sinc

_KINDS: tuple[type[KernelTransform], ...] = (
    *(Refocus, Shuffled, RandomBase, Free, LrScaled, LowRank, NullSpace, Tucker, Density),
    *(Combination, Spacings, Points, Continuous, Gabor, Sinc, Separable, WeightNorm, Standardize),
)

_RESERVED = ("plain", "scratch", "norm_fold")  # training methods that are no transformations
TRANSFORMS = {kind.config_class.method: kind for kind in _KINDS}  #: Every transformation by the name that users give


def register_transform(kind: type[KernelTransform]) -> type[KernelTransform]:
    """Make a transformation known by the name of its configuration, as those of the package are; a class decorator.

    It then works in :func:`refconv.reparametrize`, ``refconv.plan``, ``fit_budget``, adapters and recipes. A class of
    the same module and name takes the place of the former one, as in a notebook.

    Args:
        kind: a subclass of :class:`KernelTransform` with a configuration of its own.

    Raises:
        SettingError: if it is no such class, or its name is another one's.

    Example:
        >>> from refconv.config import TransformConfig
        >>> class ShiftConfig(TransformConfig, method="shift"):
        ...     pass
        >>> @register_transform
        ... class Shift(KernelTransform, settings=ShiftConfig):
        ...     @classmethod
        ...     def shapes(cls, layout, config):
        ...         return {"shift": (layout.taps,)}
        ...     def transform(self, blocks):
        ...         return blocks + self.shift.to(blocks.dtype)
        >>> "shift" in TRANSFORMS
        True
        >>> del TRANSFORMS["shift"]
    """
    complete = isinstance(kind, type) and issubclass(kind, KernelTransform)
    if not complete or any(getattr(one, "__isabstractmethod__", False) for one in (kind.shapes, kind.transform)):
        expected = "a subclass of KernelTransform with shapes and transform"
        raise SettingError("is no kernel transformation", where=str(kind), expected=expected)
    config = getattr(kind, "config_class", None)
    if config is None or "method" not in vars(config):
        remedy = f"class {kind.__name__}(KernelTransform, settings={kind.__name__}Config)"
        expected = "a TransformConfig with method='a name'"
        raise SettingError("has no configuration of its own", where=kind.__name__, expected=expected, remedy=remedy)
    known = TRANSFORMS.get(config.method)
    taken = known is not None and (known.__module__, known.__qualname__) != (kind.__module__, kind.__qualname__)
    if taken or config.method in _RESERVED:
        whose = f"that of {known.__name__}" if known is not None else "that of a training method"
        raise SettingError("the name is taken", where=config.method, found=whose, remedy="give it another name")
    TRANSFORMS[config.method] = kind
    return kind


def resolved(name: str) -> str:
    """Return the name of a transformation that a user gives by name, or as MODULE:CLASS, which is registered."""
    home, colon, own = name.partition(":")
    if not colon:
        return name
    sys.path.insert(0, "")  # as for python -m: modules of the current folder
    try:
        kind = getattr(importlib.import_module(home), own)
    except (ImportError, AttributeError) as error:
        raise SettingError("cannot import it", where=name, expected="MODULE:CLASS", found=str(error)) from error
    finally:
        sys.path.remove("")
    return register_transform(kind).config_class.method


def transform_named(name: str) -> type[KernelTransform]:
    """Return the transformation of a name.

    Raises:
        SettingError: if there is none.
    """
    if name not in TRANSFORMS:
        expected, remedy = f"one of {', '.join(TRANSFORMS)}", did_you_mean(name, TRANSFORMS)
        remedy = remedy or "one of your own is made known by refconv.register_transform"
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
