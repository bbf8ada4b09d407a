"""Ranges of weights per output channel, and what rounding to whole numbers costs.

Symmetric rounding to b bits with the scale s = r / (2^(b-1) - 1), r the largest magnitude, as whole-number inference
does with weights (Krishnamoorthi, arXiv 1806.08342, section 2):

    q(w) = s round(w / s),       error = |w - q(w)| / |w|    (square norms over the layer),

once with r of the whole layer and once with r of each output channel. Channels of very different ranges make the
first large and not the second (Nagel et al., ICCV 2019, arXiv 1906.04721).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from refconv.analysis.batches import check_least
from refconv.analysis.pairs import Kernel, pair_kernels
from refconv.layers import Selection
from refconv.measures.ranges import ChannelRanges, LayerRanges, WeightRanges


def weight_ranges(
    before: nn.Module, after: nn.Module, *, include: Selection = None, exclude: Selection = None, bits: int = 8
) -> WeightRanges:
    """Measure the ranges of the output channels of two models, and the error of weights rounded to whole numbers.

    Args:
        bits: of a whole number, its sign included.

    Example:
        >>> model = nn.Conv1d(1, 2, 2)
        >>> model.weight = nn.Parameter(torch.tensor([[[127.0, 1.0]], [[0.25, 0.25]]]))
        >>> found = weight_ranges(model, model).layers[0].after
        >>> found.quartiles[0], found.quartiles[-1], round(found.of_layer, 5), found.of_channels < 1e-12
        (0.25, 127.0, 0.00278, True)
    """
    check_least(2, bits=bits)
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        sides = (_ranges(kernel, 2 ** (bits - 1) - 1) for kernel in (pair.before, pair.after))
        rows.append(LayerRanges(pair.layer, pair.kind, len(pair.before.filters), *sides))
    return WeightRanges(tuple(rows), bits)


def _ranges(kernel: Kernel, steps: int) -> ChannelRanges:
    filters = kernel.filters
    ranges = filters.abs().amax(1)
    least, low, middle, high, largest = torch.quantile(ranges, torch.linspace(0, 1, 5, dtype=torch.float64)).tolist()
    return ChannelRanges(
        (least, low, middle, high, largest),
        largest / middle if middle else None,
        _error(filters, ranges.amax().expand(len(filters)) / steps),
        _error(filters, ranges / steps),
    )


def _error(filters: Tensor, scales: Tensor) -> float | None:
    """Return the relative error of filters [n, d] rounded to multiples of scales [n]; None for zeros."""
    whole = float(filters.norm())
    scales = torch.where(scales > 0, scales, 1.0)[:, None]
    return float((filters - (filters / scales).round() * scales).norm()) / whole if whole else None
