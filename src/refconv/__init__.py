"""Refocusing convolution: improve a pretrained ConvNet through its own kernels, get the same network back.

The names below are loaded when they are first used, so that ``import refconv`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refconv.config import RefocusConfig as RefocusConfig
    from refconv.errors import RefconvError as RefconvError
    from refconv.gradspace import RefocusSGD as RefocusSGD
    from refconv.gradspace import param_groups as param_groups
    from refconv.improvement.own import improve as improve
    from refconv.layers import find_layers as find_layers
    from refconv.parametrizations.combination import CombinationConfig as CombinationConfig
    from refconv.parametrizations.continuous import ContinuousConfig as ContinuousConfig
    from refconv.parametrizations.density import DensityConfig as DensityConfig
    from refconv.parametrizations.free import FreeConfig as FreeConfig
    from refconv.parametrizations.low_rank import LowRankConfig as LowRankConfig
    from refconv.parametrizations.lr_scaled import LrScaledConfig as LrScaledConfig
    from refconv.parametrizations.points import PointsConfig as PointsConfig
    from refconv.parametrizations.random_base import RandomBaseConfig as RandomBaseConfig
    from refconv.parametrizations.separable import SeparableConfig as SeparableConfig
    from refconv.parametrizations.shuffled import ShuffledConfig as ShuffledConfig
    from refconv.parametrizations.spacings import SpacingsConfig as SpacingsConfig
    from refconv.parametrizations.standardize import StandardizeConfig as StandardizeConfig
    from refconv.parametrizations.weight_norm import WeightNormConfig as WeightNormConfig
    from refconv.surgery import Certificate as Certificate
    from refconv.surgery import Plan as Plan
    from refconv.surgery import load_adapter as load_adapter
    from refconv.surgery import merge as merge
    from refconv.surgery import merged as merged
    from refconv.surgery import plain_state_dict as plain_state_dict
    from refconv.surgery import plan as plan
    from refconv.surgery import rebase as rebase
    from refconv.surgery import refocus as refocus
    from refconv.surgery import reparametrize as reparametrize
    from refconv.surgery import save_adapter as save_adapter
    from refconv.surgery import unrefocus as unrefocus
    from refconv.surgery import verify as verify

_HOME = {
    "RefocusConfig": "refconv.config",
    "RefconvError": "refconv.errors",
    "RefocusSGD": "refconv.gradspace",
    "param_groups": "refconv.gradspace",
    "CombinationConfig": "refconv.parametrizations.combination",
    "ContinuousConfig": "refconv.parametrizations.continuous",
    "DensityConfig": "refconv.parametrizations.density",
    "FreeConfig": "refconv.parametrizations.free",
    "LowRankConfig": "refconv.parametrizations.low_rank",
    "LrScaledConfig": "refconv.parametrizations.lr_scaled",
    "PointsConfig": "refconv.parametrizations.points",
    "RandomBaseConfig": "refconv.parametrizations.random_base",
    "SeparableConfig": "refconv.parametrizations.separable",
    "ShuffledConfig": "refconv.parametrizations.shuffled",
    "SpacingsConfig": "refconv.parametrizations.spacings",
    "StandardizeConfig": "refconv.parametrizations.standardize",
    "WeightNormConfig": "refconv.parametrizations.weight_norm",
    "improve": "refconv.improvement.own",
    "find_layers": "refconv.layers",
    "Certificate": "refconv.surgery",
    "Plan": "refconv.surgery",
    "load_adapter": "refconv.surgery",
    "merge": "refconv.surgery",
    "merged": "refconv.surgery",
    "plain_state_dict": "refconv.surgery",
    "plan": "refconv.surgery",
    "rebase": "refconv.surgery",
    "refocus": "refconv.surgery",
    "reparametrize": "refconv.surgery",
    "save_adapter": "refconv.surgery",
    "unrefocus": "refconv.surgery",
    "verify": "refconv.surgery",
}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("refconv")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'refconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})
