"""Similarity of representations: linear CKA between the layers of two models.

The records; what they are computed from is in ``analysis/similarity.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import number, text_table
from refconv.records import Record


@dataclass(frozen=True)
class LayerSimilarity(Record):
    """How alike one layer's features are in two models.

    Attributes:
        layer: the module's name.
        cka: -1 to 1, 1 for features equal up to rotation and scale; None if they are constant in one of the models.
    """

    layer: str
    cka: float | None


@dataclass(frozen=True)
class Similarity(Record):
    """Linear CKA between two models.

    Attributes:
        samples: over how many samples.
        cut: whether there were more that ``max_samples`` left out.
        layers: a row per layer, in the order of the first model's modules.
        mean: mean over layers where it is defined.
        matrix_layers: names of the layers in ``matrix``, evenly spread if there are many.
        matrix: CKA of the first model's layers (rows) with the second's (columns).
        left_out: layers that were not compared, and why.
    """

    samples: int
    cut: bool
    layers: tuple[LayerSimilarity, ...]
    mean: float | None
    matrix_layers: tuple[str, ...]
    matrix: tuple[tuple[float | None, ...], ...]
    left_out: dict[str, str]

    def __str__(self) -> str:
        lines = [text_table(("layer", "CKA"), [(row.layer, number(row.cka)) for row in self.layers])]
        lines += [f"{layer} left out: {reason}" for layer, reason in self.left_out.items()]
        more = " of more" if self.cut else ""
        lines.append(f"mean {number(self.mean)} over {self.samples:,} samples{more}")
        return "\n".join(lines)
