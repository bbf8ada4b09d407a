"""Pure tensor functions: the mathematics of refocusing for one, two and three spatial dimensions at once."""

from refconv.config import Order, Scale
from refconv.ops.layout import Layout
from refconv.ops.metric import (
    adjoint_by_convolution,
    apply_gram,
    apply_gram_by_convolution,
    apply_gram_by_patches,
    metric_gram,
    refocused_blocks,
    smallest_refocus_weight,
)
from refconv.ops.refocusing import refocus_adjoint, refocus_by_convolution, refocus_by_patches
from refconv.ops.scale import Scaling, amplified, scaling
from refconv.ops.unfolding import effective_map_size, gram, gram_power, mean_eigenvalue, patches, shaped_patches

__all__ = [
    "Layout",
    "Order",
    "Scale",
    "Scaling",
    "adjoint_by_convolution",
    "amplified",
    "apply_gram",
    "apply_gram_by_convolution",
    "apply_gram_by_patches",
    "effective_map_size",
    "gram",
    "gram_power",
    "mean_eigenvalue",
    "metric_gram",
    "patches",
    "refocus_adjoint",
    "refocus_by_convolution",
    "refocus_by_patches",
    "refocused_blocks",
    "scaling",
    "shaped_patches",
    "smallest_refocus_weight",
]
