"""How a budget is divided: many short runs, of which the best start again for much longer.

This is successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943) with two rounds of unequal shares: a quarter
of the steps chooses, three quarters train the finalists. A budget that leaves too little for choosing goes to finalists
alone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from refconv.records import Record

FINALISTS = 4
"""Entries of the last round, if there are as many."""

_CHOOSING = 0.25


@dataclass(frozen=True)
class Round(Record):
    """One round."""

    entries: int  #: how many runs
    steps: int  #: optimizer steps of each


def rounds(entries: int, *, budget: float, shortest: int, least: int = 50) -> tuple[Round, ...]:
    """Return the rounds that use a budget.

    Args:
        entries: how many there are to choose from, the most promising first.
        budget: optimizer steps of all runs together.
        shortest: steps below which a run does not tell how it would go on.
        least: steps below which a run is not worth its start.

    Example:
        >>> rounds(21, budget=6000, shortest=80)
        (Round(entries=18, steps=83), Round(entries=4, steps=1126))
        >>> rounds(21, budget=2000, shortest=80)
        (Round(entries=4, steps=500),)
    """
    tried = min(entries, math.floor(_CHOOSING * budget / shortest))
    if tried >= 2 * FINALISTS:
        steps = math.floor(_CHOOSING * budget / tried)
        return Round(tried, steps), Round(FINALISTS, math.floor((budget - tried * steps) / FINALISTS))
    count = max(1, min(entries, FINALISTS, math.floor(budget / least)))
    return (Round(count, max(1, math.floor(budget / count))),)
