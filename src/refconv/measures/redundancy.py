"""Channel redundancy: how alike the kernels of a layer's output channels are.

The records; what they are computed from is in ``analysis/redundancy.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import change, text_table
from refconv.records import Record


@dataclass(frozen=True)
class ChannelRedundancy(Record):
    """How alike the channels of one layer are; None where a layer has no two channels to compare.

    Attributes:
        divergence: mean Kullback-Leibler divergence over ordered pairs of sampled channels, in nats; 0 for equal
            kernels, larger for less redundant layers.
        scaled_divergence: the same with the layer's weights divided by their root mean square.
        cosine: mean absolute cosine between sampled channels, 0 (orthogonal) to 1 (parallel); channels of zeros are
            left out.
        effective_rank: exp(H) of the singular values of all slices of the layer [n, k] as shares of their sum, H
            their entropy (Roy and Vetterli, EUSIPCO 2007): 1 (all parallel) to min(n, k).
        matrix: divergences [shown, shown] between the first sampled channels, in nats, four significant digits.
    """

    divergence: float | None
    scaled_divergence: float | None
    cosine: float | None
    effective_rank: float | None
    matrix: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class LayerRedundancy(Record):
    """One layer's redundancy in two models.

    Attributes:
        layer: the module's name.
        kind: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``.
        channels: output channels of the layer.
        sampled: how many of them were compared, the same ones in both models.
        shown: which channels the matrices hold.
        before: of the first model.
        after: of the second.
    """

    layer: str
    kind: str
    channels: int
    sampled: int
    shown: tuple[int, ...]
    before: ChannelRedundancy
    after: ChannelRedundancy


@dataclass(frozen=True)
class Redundancy(Record):
    """Channel redundancy of two models, layer by layer; summaries are means over layers, each counting once.

    Attributes:
        layers: a row per layer.
        divergence: means before and after, in nats.
        scaled_divergence: the same, free of scale.
        cosine: the same of the mean absolute cosine.
        effective_rank: the same of the effective rank.
        less_redundant: share of layers whose divergence grew, 0 to 1.
        less_redundant_scaled: share of layers whose scaled divergence grew.
        seed: of the sample of channels.
    """

    layers: tuple[LayerRedundancy, ...]
    divergence: tuple[float | None, float | None]
    scaled_divergence: tuple[float | None, float | None]
    cosine: tuple[float | None, float | None]
    effective_rank: tuple[float | None, float | None]
    less_redundant: float | None
    less_redundant_scaled: float | None
    seed: int

    def __str__(self) -> str:
        names = ("divergence", "scaled_divergence", "cosine", "effective_rank")
        header = ("layer", "kind", "channels", *(name.replace("_", " ") for name in names))
        rows = [
            (
                row.layer,
                row.kind,
                f"{row.sampled} of {row.channels}" if row.sampled < row.channels else str(row.channels),
                *(change(getattr(row.before, name), getattr(row.after, name)) for name in names),
            )
            for row in self.layers
        ]
        rows.append(("mean over layers", "", "", *(change(*getattr(self, name)) for name in names)))
        text = text_table(header, rows)
        if self.less_redundant is None or self.less_redundant_scaled is None:
            return text
        return (
            f"{text}\nless redundant by divergence in {self.less_redundant:.0%} of layers, "
            f"apart from the weights' scale in {self.less_redundant_scaled:.0%}"
        )
