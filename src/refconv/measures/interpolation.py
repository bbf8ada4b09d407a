"""The loss on the straight line between two models.

The records; what they are computed from is in ``analysis/interpolation.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.conditions import Conditions
from refconv.measures.tables import number, text_table
from refconv.records import Record


@dataclass(frozen=True)
class Interpolation(Record):
    """The loss between two models.

    Attributes:
        shares: t, from 0 (before) to 1 (after).
        losses: at each t, batch norms recalibrated; None where the loss is not finite.
        before: the first model's own loss, nothing recalibrated.
        after: the second's.
        barrier: highest rise over the straight line between the recalibrated ends, 0 or more; None if a loss is not
            finite.
        conditions: what losses were measured on.
    """

    shares: tuple[float, ...]
    losses: tuple[float | None, ...]
    before: float
    after: float
    barrier: float | None
    conditions: Conditions

    def __str__(self) -> str:
        rows = [(number(t), number(loss, 4)) for t, loss in zip(self.shares, self.losses, strict=True)]
        rows = [("before, as it is", number(self.before, 4)), *rows, ("after, as it is", number(self.after, 4))]
        return f"{text_table(('share of after', 'loss'), rows)}\nbarrier {number(self.barrier)}; {self.conditions}"
