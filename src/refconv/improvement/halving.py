"""Successive halving (Jamieson and Talwalkar 2016, arXiv 1502.07943): many short runs, then fewer and longer ones.

Round i trains n_i entries for u 3^i steps each, to the end of a schedule of that length, and the best third goes on
anew with three times the steps. n_0 is the largest size for which the steps of all rounds together,

    u (n_0 + 3 n_1 + 9 n_2 + ...),

stay within the budget while u is long enough to tell entries apart.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from refconv.records import Record

FINALISTS = 3  #: Entries of the last round, if there are as many
_GROWTH = 3


@dataclass(frozen=True)
class Round(Record):
    """One round."""

    entries: int  #: how many runs
    steps: int  #: optimizer steps of each


def rounds(entries: int, *, budget: float, shortest: int) -> tuple[Round, ...]:
    """Return the rounds that use a budget best.

    Args:
        entries: how many there are to choose from.
        budget: optimizer steps of all runs together.
        shortest: steps below which a run says nothing.

    Example:
        >>> rounds(18, budget=6300, shortest=50)
        (Round(entries=18, steps=100), Round(entries=6, steps=300), Round(entries=3, steps=900))
        >>> rounds(18, budget=500, shortest=50)
        (Round(entries=3, steps=166),)
    """
    for first in range(entries, 0, -1):
        sizes = _sizes(first)
        unit = math.floor(budget / sum(size * _GROWTH**place for place, size in enumerate(sizes)))
        if unit >= shortest:
            return tuple(Round(size, unit * _GROWTH**place) for place, size in enumerate(sizes))
    return (Round(1, max(1, math.floor(budget))),)


def _sizes(first: int) -> list[int]:
    sizes = [first]
    while sizes[-1] > FINALISTS:
        sizes.append(max(FINALISTS, sizes[-1] // _GROWTH))
    return sizes
