"""The quality of a layer's filters: sparsity, variety and orthogonality, and which layers are degenerate.

The records; what they are computed from is in ``analysis/filters.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import change, number, text_table
from refconv.records import Record


@dataclass(frozen=True)
class FilterQuality(Record):
    """What one layer's filters are like.

    Attributes:
        sparsity: share of slices that are zero to one percent of the layer's largest entry, 0 to 1.
        variance_entropy: H of the slices' explained variance ratios, 0 to log10 k; None if all slices are equal.
        orthogonality: 1 - mean absolute cosine between (sampled) filters, 0 to 1; None for fewer than two.
        degenerate: ``sparse`` (more than half of the slices), ``narrow`` (H under half of log10 k), ``random`` (H at
            the random threshold or above) or None.
    """

    sparsity: float
    variance_entropy: float | None
    orthogonality: float | None
    degenerate: str | None


@dataclass(frozen=True)
class LayerQuality(Record):
    """One layer's filters in two models.

    Attributes:
        layer: the module's name.
        kind: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``.
        slices: number n of slices.
        taps: entries k of a slice.
        random_threshold: entropy from which the layer counts as random; None for n <= k.
        before: of the first model.
        after: of the second.
    """

    layer: str
    kind: str
    slices: int
    taps: int
    random_threshold: float | None
    before: FilterQuality
    after: FilterQuality


@dataclass(frozen=True)
class FilterStatistics(Record):
    """Filter quality of two models; pairs are before and after.

    Attributes:
        layers: a row per layer.
        sparsity: share of all slices that are sparse.
        variance_entropy: mean over layers of H / log10 k, 0 to 1.
        orthogonality: mean over layers.
        degenerate_layers: share of layers that are degenerate.
        degenerate_slices: share of slices that are sparse or in a degenerate layer.
    """

    layers: tuple[LayerQuality, ...]
    sparsity: tuple[float, float]
    variance_entropy: tuple[float | None, float | None]
    orthogonality: tuple[float | None, float | None]
    degenerate_layers: tuple[float, float]
    degenerate_slices: tuple[float, float]

    def __str__(self) -> str:
        header = (
            "layer",
            "kind",
            "slices",
            "sparsity",
            "variance entropy",
            "random from",
            "orthogonality",
            "degenerate",
        )
        rows = [
            (
                row.layer,
                row.kind,
                f"{row.slices:,}",
                change(row.before.sparsity, row.after.sparsity),
                change(row.before.variance_entropy, row.after.variance_entropy),
                number(row.random_threshold),
                change(row.before.orthogonality, row.after.orthogonality),
                f"{row.before.degenerate or 'no'} -> {row.after.degenerate or 'no'}",
            )
            for row in self.layers
        ]
        (first, last), (sparse, sparser) = self.degenerate_layers, self.sparsity
        summary = f"degenerate layers {first:.0%} -> {last:.0%}; sparse slices {sparse:.2%} -> {sparser:.2%}; "
        means = f"orthogonality {change(*self.orthogonality)}, entropy of its largest {change(*self.variance_entropy)}"
        return f"{text_table(header, rows)}\n{summary}means over layers: {means}"
