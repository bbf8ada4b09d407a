"""The Gram's spectrum, layer by layer: along how many patterns refocusing learns, and how unevenly.

G = P^T P (docs/math.md) multiplies gradients, so a part of a gradient along an eigenvector is amplified by its
eigenvalue. Eigenvalues are taken over their mean, trace(G) / k, since a common factor is a learning rate.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from refconv.analysis.blocks import median, view_blocks
from refconv.analysis.pairs import Kernel, find_kernels
from refconv.config import RefocusConfig
from refconv.layers import Selection
from refconv.measures.refocusing import GramSpectra, LayerSpectrum
from refconv.measures.tables import mean
from refconv.ops import Order, metric_gram


def gram_spectra(
    model: nn.Module,
    *,
    include: Selection = None,
    exclude: Selection = None,
    map_size: int | Sequence[int] = RefocusConfig.map_size,
    order: Order = RefocusConfig.order,
    seed: int = 0,
) -> GramSpectra:
    """Measure the spectra of the Grams that a model's kernels give as bases of refocusing.

    Args:
        model: a plain model: the base, so usually the pretrained one.
        include: layers to look at, as in :func:`refconv.layers.select`; by default all kernels of more than one tap.
        exclude: layers to leave out.
        map_size: taps of the refocusing map, as in :func:`refconv.refocus`.
        order: how slices are gathered into blocks.
        seed: of the sample of blocks where a layer has very many.

    Raises:
        ModelError: if the model has no convolution to look at, or one that cannot be measured.
        SettingError: if the map size or the order does not exist.

    Example:
        >>> model = nn.Conv2d(1, 1, 3)
        >>> delta = torch.zeros(1, 1, 3, 3)
        >>> delta[0, 0, 1, 1] = 1  # all shifts of one tap: every direction alike
        >>> model.weight = nn.Parameter(delta)
        >>> gram_spectra(model).layers[0].condition
        1.0
    """
    rows = [_of_kernel(kernel, map_size, order, seed) for kernel in find_kernels(model, include, exclude)]
    conditions = torch.tensor([row.condition for row in rows if row.condition is not None], dtype=torch.float64)
    return GramSpectra(
        layers=tuple(rows),
        effective_share=mean([row.effective_rank / len(row.eigenvalues) for row in rows if row.effective_rank]),
        condition=median(conditions) if len(conditions) else None,
        map_size=(map_size,) if isinstance(map_size, int) else tuple(map_size),
        order=order,
        seed=seed,
    )


def positive_eigenvalues(values: Tensor) -> Tensor:
    """Return eigenvalues [b, k] with those set to zero that are zero to rounding, as :func:`refconv.ops.gram_power`."""
    floor = values.amax(-1, keepdim=True).clamp(min=0) * values.shape[-1] * torch.finfo(values.dtype).eps
    return torch.where(values > floor, values, 0)


def _of_kernel(kernel: Kernel, map_size: int | Sequence[int], order: Order, seed: int) -> LayerSpectrum:
    view = view_blocks(kernel, map_size, order, seed)
    values = positive_eigenvalues(
        torch.linalg.eigvalsh(metric_gram(view.of(kernel), view.kernel_size, view.map_size)).flip(-1)
    )
    means = values.mean(-1)
    alive = values[means > 0]
    relative = alive / alive.mean(-1, keepdim=True)
    ranks = (alive > 0).sum(-1)
    found: tuple[float | None, ...] = (None, None, None)
    if len(alive):
        smallest = alive.gather(-1, ranks[:, None] - 1)[:, 0]
        shares = alive / alive.sum(-1, keepdim=True)
        effective = torch.special.entr(shares).sum(-1).exp()
        found = median(ranks), median(alive[:, 0] / smallest), median(effective)
    return LayerSpectrum(
        layer=kernel.layer,
        kind=kernel.kind,
        kernel_size=kernel.kernel_size,
        blocks=view.total,
        sampled=len(view.chosen),
        eigenvalues=tuple(relative.mean(0).tolist()) if len(alive) else (0.0,) * values.shape[-1],
        mean_eigenvalue=float(means.mean()),
        rank=found[0],
        condition=found[1],
        effective_rank=found[2],
    )
