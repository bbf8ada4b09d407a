"""Refocusing convolution: improve a pretrained ConvNet through its own kernels, get the same network back.

The names below are loaded when they are first used, so that ``import refconv`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refconv.gradspace import RefocusSGD as RefocusSGD
    from refconv.gradspace import param_groups as param_groups
    from refconv.sites import find_sites as find_sites
    from refconv.surgery import load_adapter as load_adapter
    from refconv.surgery import merge as merge
    from refconv.surgery import merged as merged
    from refconv.surgery import plain_state_dict as plain_state_dict
    from refconv.surgery import plan as plan
    from refconv.surgery import refocus as refocus
    from refconv.surgery import save_adapter as save_adapter
    from refconv.surgery import unrefocus as unrefocus
    from refconv.surgery import verify as verify

_HOME = {
    "RefocusSGD": "refconv.gradspace",
    "param_groups": "refconv.gradspace",
    "find_sites": "refconv.sites",
    "load_adapter": "refconv.surgery",
    "merge": "refconv.surgery",
    "merged": "refconv.surgery",
    "plain_state_dict": "refconv.surgery",
    "plan": "refconv.surgery",
    "refocus": "refconv.surgery",
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
