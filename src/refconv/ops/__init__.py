"""Pure tensor functions: the mathematics of refocusing for one, two and three spatial dimensions at once.

Shapes stand in brackets: b blocks of m slices of k taps, and refocusing maps of t taps. The functions share these
arguments, which their own descriptions do not repeat:

* ``blocks``: the base B [b, m, k];
* ``kernel_size``, ``map_size``: taps of the kernel and odd taps of the map per spatial dimension, products k and t;
* ``patches``: P [b, m * t, k]; ``weight``: the refocus weight R [b, m, m * t]; ``gradient``: g [b, m, k] by the kernel;
* ``scale``, ``power``, ``damping``: of the Gram, as :func:`scaling` says; ``root``: c_S [b, 1, 1], None where it is
  one. With damping, P, R and G are those of the damped patches, with k more rows.
"""

from refconv.config import Order, Scale
from refconv.ops.dense import adjoint_slices, refocus_slices
from refconv.ops.grams import (
    Spectrum,
    added,
    damped_grams,
    effective_map_size,
    gram,
    gram_power,
    mean_eigenvalue,
    patches,
    shaped_patches,
)
from refconv.ops.layout import Layout
from refconv.ops.refocusing import (
    adjoint_by_convolution,
    apply_gram,
    apply_gram_by_convolution,
    apply_gram_by_patches,
    mean_of_metric,
    metric_factors,
    metric_gram,
    refocus_adjoint,
    refocus_by_convolution,
    refocus_by_patches,
    refocused_blocks,
    smallest_refocus_weight,
)
from refconv.ops.scales import Scaling, amplified, scaling

__all__ = [
    "Layout",
    "Order",
    "Scale",
    "Scaling",
    "Spectrum",
    "added",
    "adjoint_by_convolution",
    "adjoint_slices",
    "amplified",
    "apply_gram",
    "apply_gram_by_convolution",
    "apply_gram_by_patches",
    "damped_grams",
    "effective_map_size",
    "gram",
    "gram_power",
    "mean_eigenvalue",
    "mean_of_metric",
    "metric_factors",
    "metric_gram",
    "patches",
    "refocus_adjoint",
    "refocus_by_convolution",
    "refocus_by_patches",
    "refocus_slices",
    "refocused_blocks",
    "scaling",
    "shaped_patches",
    "smallest_refocus_weight",
]
