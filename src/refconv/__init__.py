"""Refocusing convolution: improve a pretrained ConvNet through its own kernels, get the same network back.

The names below are loaded when they are first used, so that ``import refconv`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refconv.config import RefocusConfig as RefocusConfig
    from refconv.engine.adopting import adopt as adopt
    from refconv.errors import RefconvError as RefconvError
    from refconv.exporting.exporting import export as export
    from refconv.gradspace import RefocusSGD as RefocusSGD, param_groups as param_groups
    from refconv.improvement.own import improve as improve
    from refconv.layers import find_layers as find_layers
    from refconv.named_code import trust as trust
    from refconv.parametrizations.filterwise import (
        CombinationConfig as CombinationConfig,
        LowRankConfig as LowRankConfig,
        NullSpaceConfig as NullSpaceConfig,
        StandardizeConfig as StandardizeConfig,
        TuckerConfig as TuckerConfig,
        WeightNormConfig as WeightNormConfig,
    )
    from refconv.parametrizations.refocus import (
        FreeConfig as FreeConfig,
        LrScaledConfig as LrScaledConfig,
        RandomBaseConfig as RandomBaseConfig,
        ShuffledConfig as ShuffledConfig,
    )
    from refconv.parametrizations.registry import register_transform as register_transform
    from refconv.parametrizations.spatial import (
        ContinuousConfig as ContinuousConfig,
        DensityConfig as DensityConfig,
        PointsConfig as PointsConfig,
        SeparableConfig as SeparableConfig,
        SpacingsConfig as SpacingsConfig,
    )
    from refconv.parametrizations.waves import GaborConfig as GaborConfig, SincConfig as SincConfig
    from refconv.surgery import (
        Certificate as Certificate,
        Plan as Plan,
        load_adapter as load_adapter,
        merge as merge,
        merged as merged,
        plain_state_dict as plain_state_dict,
        plan as plan,
        rebase as rebase,
        refocus as refocus,
        reparametrize as reparametrize,
        save_adapter as save_adapter,
        unrefocus as unrefocus,
        verify as verify,
    )

_NAMES = {
    "config": "RefocusConfig",
    "engine.adopting": "adopt",
    "errors": "RefconvError",
    "exporting.exporting": "export",
    "gradspace": "RefocusSGD param_groups",
    "improvement.own": "improve",
    "layers": "find_layers",
    "named_code": "trust",
    "parametrizations.refocus": "FreeConfig LrScaledConfig RandomBaseConfig ShuffledConfig",
    "parametrizations.filterwise": "CombinationConfig LowRankConfig NullSpaceConfig StandardizeConfig TuckerConfig "
    "WeightNormConfig",
    "parametrizations.spatial": "ContinuousConfig DensityConfig PointsConfig SeparableConfig SpacingsConfig",
    "parametrizations.registry": "register_transform",
    "parametrizations.waves": "GaborConfig SincConfig",
    "surgery": "Certificate Plan load_adapter merge merged plain_state_dict plan rebase refocus reparametrize "
    "save_adapter unrefocus verify",
}
_HOME = {name: f"refconv.{module}" for module, names in _NAMES.items() for name in names.split()}
__all__ = sorted(_HOME)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return importlib.import_module("importlib.metadata").version("refconv")
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'refconv' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, "__version__"})
