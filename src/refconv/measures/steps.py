"""How much of a step of refocusing learning rates explain, and how much is a matter of directions; without torch."""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import LayerRecord, table_of
from refconv.records import Record


@dataclass(frozen=True)
class LayerStep(LayerRecord):
    """The step g M of one layer beside its gradient g."""

    cosine: float | None  #: between g and g M; its square is what one number for the layer explains; None without step
    block: float | None  #: share of |g M|^2 that one number for each block explains, 0 to 1; None without step
    best: float | None  #: the number c that brings c g closest to g M; None without gradient
    mean: float  #: the mean eigenvalue of M, the number that ``lr_scaled`` takes for the layer
    energy: float  #: |g M|^2


@dataclass(frozen=True)
class ExplainedShare(Record):
    """Shares of |g M|^2 over layers that the best numbers explain, 0 to 1; M itself explains 1. None without a step."""

    kind: str  #: of the layers, or ``all``
    layers: int
    network: float | None  #: one number for all of these layers
    layer: float | None  #: one for each layer
    block: float | None  #: one for each block


@dataclass(frozen=True)
class StepShares(Record):
    """How much of a step of refocusing is explained by learning rates: of the network, of layers, of blocks."""

    layers: tuple[LayerStep, ...]
    shares: tuple[ExplainedShare, ...]  #: of all layers, and of those of each kind
    map_size: tuple[int, ...]  #: of the refocusing map, as asked for
    order: str  #: how slices are gathered into blocks
    scale: str
    power: float
    damping: float

    def __str__(self) -> str:
        layers = table_of(self.layers, "layer", "kind", "cosine", ("one number a block", "block"), "best", "mean")
        levels = ("of the network", "network"), ("of each layer", "layer"), ("of each block", "block")
        return f"{layers}\n\nShare of |g M|^2 explained by one number\n" + table_of(
            self.shares, "kind", "layers", *levels
        )
