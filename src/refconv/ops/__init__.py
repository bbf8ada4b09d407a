"""Pure tensor functions: the mathematics of refocusing for one, two and three spatial dimensions at once."""

from refconv.ops.layout import Layout, Order
from refconv.ops.patches import (
    effective_map_size,
    gram,
    gram_power,
    mean_eigenvalue,
    normalizing_scale,
    patches,
    shaped_patches,
)
from refconv.ops.refocusing import refocus_adjoint, refocus_by_convolution, refocus_by_patches

__all__ = [
    "Layout",
    "Order",
    "effective_map_size",
    "gram",
    "gram_power",
    "mean_eigenvalue",
    "normalizing_scale",
    "patches",
    "refocus_adjoint",
    "refocus_by_convolution",
    "refocus_by_patches",
    "shaped_patches",
]
