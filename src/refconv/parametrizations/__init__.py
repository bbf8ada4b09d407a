"""Kernel transformations: trainable maps from a frozen base to the kernel, one small file each.

``TRANSFORMS`` is the registry: a new transformation is one file and one line in ``registry.py``.
"""

from refconv.parametrizations.base import ForwardScope, KernelTransform, computing_dtype, memory_format
from refconv.parametrizations.refocus import Refocus, Start, check_settings, first_weight
from refconv.parametrizations.registry import TRANSFORMS, complete_settings, has_gram_scale, name_of, transform_named
from refconv.parametrizations.tensors import Base

__all__ = [
    "TRANSFORMS",
    "Base",
    "ForwardScope",
    "KernelTransform",
    "Refocus",
    "Start",
    "check_settings",
    "complete_settings",
    "computing_dtype",
    "first_weight",
    "has_gram_scale",
    "memory_format",
    "name_of",
    "transform_named",
]
