"""The Gram's spectrum, layer by layer: along how many patterns refocusing learns, and how unevenly.

The records; what they are computed from is in ``analysis/spectrum.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import number, text_table, times
from refconv.records import Record


@dataclass(frozen=True)
class LayerSpectrum(Record):
    """Eigenvalues of the Grams of one layer's blocks; blocks of zeros are left out.

    Attributes:
        layer: the module's name.
        kind: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``.
        kernel_size: taps per dimension, product k.
        blocks: blocks of the layer.
        sampled: how many of them were looked at.
        eigenvalues: over their mean, descending, the mean over blocks of each [k]; they sum to k.
        mean_eigenvalue: trace(G) / k, the mean over blocks: the factor that refocusing puts on the learning rate.
        rank: eigenvalues that are not zero to rounding, 1 to min(k, m t); the median over blocks.
        condition: largest over smallest eigenvalue that is not zero, 1 or more; the median over blocks.
        effective_rank: exp(H), H the entropy of the eigenvalues as shares, 1 to k; the median over blocks.
    """

    layer: str
    kind: str
    kernel_size: tuple[int, ...]
    blocks: int
    sampled: int
    eigenvalues: tuple[float, ...]
    mean_eigenvalue: float
    rank: float | None
    condition: float | None
    effective_rank: float | None


@dataclass(frozen=True)
class GramSpectra(Record):
    """Spectra of a model's Grams.

    Attributes:
        layers: a row per layer.
        effective_share: mean over layers of the effective rank over k, 0 to 1: 1 is plain training's even spectrum.
        condition: median over layers of the condition number.
        map_size: of the refocusing map, as asked for.
        order: how slices are gathered into blocks.
        seed: of the samples of blocks.
    """

    layers: tuple[LayerSpectrum, ...]
    effective_share: float | None
    condition: float | None
    map_size: tuple[int, ...]
    order: str
    seed: int

    def __str__(self) -> str:
        rows = [
            (
                row.layer,
                row.kind,
                times(row.kernel_size),
                f"{row.sampled:,} of {row.blocks:,}" if row.sampled < row.blocks else f"{row.blocks:,}",
                number(row.mean_eigenvalue),
                number(row.rank),
                number(row.condition),
                number(row.effective_rank),
            )
            for row in self.layers
        ]
        header = ("layer", "kind", "kernel", "blocks", "mean eigenvalue", "rank", "condition", "effective rank")
        share, condition = number(self.effective_share), number(self.condition)
        text = f"effective rank over taps {share} in the mean, condition {condition} in the median over layers"
        return f"{text_table(header, rows)}\n{text}"
