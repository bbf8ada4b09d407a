"""Kernels to look at: the same slices of every layer in two models, as numbers for pictures.

Layers of many slices are sampled with a seed. Taps keep four significant digits, which is more than a picture shows
and keeps the record of a large network small.
"""

from __future__ import annotations

from torch import Tensor, nn

from refconv.analysis.pairs import pair_kernels, sampled
from refconv.errors import SettingError
from refconv.layers import Selection
from refconv.measures.kernels import KernelSamples, LayerKernels

DIGITS = 4
"""Significant digits of a tap."""


def kernels(
    before: nn.Module,
    after: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    shown: int = 64,
    seed: int = 0,
) -> KernelSamples:
    """Return the same slices of two models, for pictures.

    Args:
        shown: slices of a layer at most.

    Example:
        >>> import torch
        >>> model = nn.Conv1d(1, 2, 3, bias=False)
        >>> model.weight = nn.Parameter(torch.tensor([[[1.0, 2.0, 3.0]], [[0.0, 1 / 3, 0.0]]]))
        >>> kernels(model, model).layers[0].after
        ((1.0, 2.0, 3.0), (0.0, 0.3333, 0.0))
    """
    if shown < 1:
        raise SettingError("too few", where="shown", expected="1 or more", found=str(shown))
    rows = []
    for pair in pair_kernels(before, after, include, exclude):
        first, second = pair.before.slices, pair.after.slices
        chosen = sampled(len(first), shown, seed)
        rows.append(
            LayerKernels(
                layer=pair.layer,
                kind=pair.kind,
                kernel_size=pair.before.kernel_size,
                slices=len(first),
                chosen=tuple(chosen.tolist()),
                before=_rounded(first[chosen]),
                after=_rounded(second[chosen]),
            )
        )
    return KernelSamples(tuple(rows), shown, seed)


def _rounded(slices: Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(float(f"{value:.{DIGITS}g}") for value in row) for row in slices.tolist())
