"""Kernel transformations: trainable maps from a frozen base to the kernel, one small file each.

``TRANSFORMS`` is the registry: a new transformation is one file and one line here.
"""

from refconv.parametrizations.base import ForwardScope, KernelTransform, computing_dtype, memory_format
from refconv.parametrizations.refocus import Refocus, Start, check_settings, first_weight

TRANSFORMS: dict[str, type[KernelTransform]] = {"refocus": Refocus}

__all__ = [
    "TRANSFORMS",
    "ForwardScope",
    "KernelTransform",
    "Refocus",
    "Start",
    "check_settings",
    "computing_dtype",
    "first_weight",
    "memory_format",
]
