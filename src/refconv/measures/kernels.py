"""Kernels to look at: the same slices of every layer in two models, as numbers for pictures.

The records; what they are computed from is in ``analysis/kernels.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import text_table, times
from refconv.records import Record


@dataclass(frozen=True)
class LayerKernels(Record):
    """Some slices of one layer in two models.

    Attributes:
        layer: the module's name.
        kind: ``depthwise``, ``grouped``, ``dense`` or ``pointwise``.
        kernel_size: taps per dimension.
        slices: how many the layer has.
        chosen: which of them are given: numbers in the order of output channels, ascending.
        before: a row per chosen slice, its taps in row-major order, of the first model.
        after: the same of the second.
    """

    layer: str
    kind: str
    kernel_size: tuple[int, ...]
    slices: int
    chosen: tuple[int, ...]
    before: tuple[tuple[float, ...], ...]
    after: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class KernelSamples(Record):
    """The same slices of two models.

    Attributes:
        layers: a row per layer.
        shown: slices of a layer at most.
        seed: of the sample.
    """

    layers: tuple[LayerKernels, ...]
    shown: int
    seed: int

    def __str__(self) -> str:
        rows = [
            (row.layer, row.kind, times(row.kernel_size), f"{row.slices:,}", f"{len(row.chosen):,}")
            for row in self.layers
        ]
        return text_table(("layer", "kind", "kernel", "slices", "given"), rows)
