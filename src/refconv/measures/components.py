"""The principal components that all slices of one kernel size share, and how far two models' slices are apart in them.

The records; what they are computed from is in ``analysis/components.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refconv.measures.tables import number, text_table, times
from refconv.records import Record


@dataclass(frozen=True)
class SizeComponents(Record):
    """The slices of one kernel size in two models.

    Attributes:
        kernel_size: taps per dimension, product k.
        layers: how many layers have it.
        slices: how many slices they hold.
        sampled: how many of them were used, the same ones in both models.
        explained_before: explained variance ratio of each principal component of the first model's slices alone,
            descending, summing to 1.
        explained_after: the same of the second model.
        explained: of the shared components.
        components: the shared components of largest variance, unit vectors over the taps in row-major order; the sign
            is such that the largest entry is positive.
        shift: D between the two models, in nats, 0 or more.
        shift_of_components: KL(P_i || Q_i) + KL(Q_i || P_i) of every component.
        chance: D when before and after are exchanged for slices drawn at random, the mean of a few draws.
    """

    kernel_size: tuple[int, ...]
    layers: int
    slices: int
    sampled: int
    explained_before: tuple[float, ...]
    explained_after: tuple[float, ...]
    explained: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    shift: float
    shift_of_components: tuple[float, ...]
    chance: float


@dataclass(frozen=True)
class FilterComponents(Record):
    """Shared components and shift of two models.

    Attributes:
        sizes: a row per kernel size, that of the most slices first.
        seed: of the sample and of the exchanges.
    """

    sizes: tuple[SizeComponents, ...]
    seed: int

    def __str__(self) -> str:
        rows = [
            (
                times(row.kernel_size),
                f"{row.slices:,}",
                _leading(row.explained_before),
                _leading(row.explained_after),
                number(row.shift),
                number(row.chance),
            )
            for row in self.sizes
        ]
        header = ("kernel", "slices", "explained by the first three, before", "after", "shift, nats", "by chance")
        return text_table(header, rows)


def _leading(explained: Sequence[float]) -> str:
    return " ".join(f"{ratio:.1%}" for ratio in explained[:3])
