"""How a budget is divided: several short runs, of which the best start again for longer.

This is successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943) with two rounds of unequal shares: two fifths
of the steps choose, three fifths train the finalists, one with and one without refocusing. A budget that leaves too
little for choosing goes to a few runs at once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from refconv.records import Record

FINALISTS = 2
"""Entries of the last round, if there are as many."""

_CHOOSING = 0.4
_FEWEST = 4  #: Entries of a first round; of fewer there is too little to choose


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
        >>> rounds(21, budget=6000, shortest=160)
        (Round(entries=15, steps=160), Round(entries=2, steps=1800))
        >>> rounds(21, budget=1500, shortest=160)
        (Round(entries=3, steps=500),)
    """
    tried = min(entries, math.floor(_CHOOSING * budget / shortest))
    if tried >= _FEWEST:
        steps = math.floor(_CHOOSING * budget / tried)
        return Round(tried, steps), Round(FINALISTS, math.floor((budget - tried * steps) / FINALISTS))
    count = max(1, min(entries, FINALISTS + 1, math.floor(budget / least)))
    return (Round(count, max(1, math.floor(budget / count))),)


def budget_for(entries: int, *, shortest: int, least: int = 50) -> int:
    """Return the optimizer steps of all runs together from which on so many entries are tried; see :func:`rounds`.

    Example:
        >>> budget_for(15, shortest=160), rounds(21, budget=6000, shortest=160)[0].entries
        (6000, 15)
    """
    if entries < _FEWEST:
        return entries * least
    steps = math.ceil(entries * shortest / _CHOOSING)
    return steps if math.floor(_CHOOSING * steps / shortest) >= entries else steps + 1
