"""Kernel transformations: trainable maps from a frozen base to the kernel, by name in ``TRANSFORMS``."""

from refconv.parametrizations.base import Base, ForwardScope, Kernel, KernelTransform, computing_dtype, memory_format
from refconv.parametrizations.refocus import Refocus, first_weight, weight_shape
from refconv.parametrizations.registry import (
    TRANSFORMS,
    config_of,
    layout_at,
    register_transform,
    resolved,
    transform_named,
)

__all__ = [
    "TRANSFORMS",
    "Base",
    "ForwardScope",
    "Kernel",
    "KernelTransform",
    "Refocus",
    "computing_dtype",
    "config_of",
    "first_weight",
    "layout_at",
    "memory_format",
    "register_transform",
    "resolved",
    "transform_named",
    "weight_shape",
]
