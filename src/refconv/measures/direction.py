"""Which way a number went over the layers of a model, and whether that is more than a coin would do.

A measure of weights gives every layer a number before and after. Both are exact, so the question is not their error
but whether the layers agree. Under the hypothesis that each layer goes up or down like a coin, the exact two-sided sign
test over the layers that changed has

    p = min(1, 2 P(X <= min(risen, fallen))),     X ~ Binomial(risen + fallen, 1/2).

The number went up or down if p is below 0.05 and the mean over layers went the same way. It stayed the same if the
median layer changed by less than 1 % of what it was: then it does not matter which way. Everything else is unclear; so
is any change of fewer than six layers, whose p cannot come below 0.05.

Note [Layers are no independent draws]. They learn together, so p is a yardstick that is the same for all measures and
pairs, and no statement about other trainings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import fsum, inf
from statistics import median
from typing import Literal

from refconv.measures.findings import Change
from refconv.measures.numbers import count, number, percent
from refconv.measures.paired_difference import mcnemar

Way = Literal["up", "down", "same", "unclear"]
Good = Literal["up", "down"] | None
"""Which way is the better one, if one is."""

LEVEL = 0.05
NEGLIGIBLE = 0.01
"""Share of what it was that the median layer's number must change by to count."""
_SMALL = 0.001
FEWEST = 6
"""Layers that have to agree for p to come below the level."""

RULE = (
    "Up or down over layers: more layers went that way than a coin would let (exact two-sided sign test, p < 0.05, so "
    "six layers or more), and the mean with them. Too little to count: under 1 % in the median layer. Layers learn "
    "together, so p is a yardstick and says nothing about other trainings."
)


@dataclass(frozen=True)
class Direction:
    """What a number did over layers."""

    before: float | None  #: mean over the layers that have the number in both models; None if there is none
    after: float | None  #: the same of the later model
    risen: int  #: layers in which it grew
    fallen: int  #: layers in which it shrank
    level: int  #: layers in which it is the very same
    typical: float  #: median over layers of |after - before| / |before|; 0 without layers

    @property
    def layers(self) -> int:
        """Layers that have the number in both models."""
        return self.risen + self.fallen + self.level

    @property
    def p(self) -> float:
        """The sign test's."""
        return mcnemar(self.risen, self.fallen)

    @property
    def astray(self) -> bool:
        """Whether the mean went the other way than most layers."""
        if self.before is None or self.after is None:
            return False
        return (self.risen - self.fallen) * (self.after - self.before) <= 0 and self.risen != self.fallen

    @property
    def way(self) -> Way:
        """Where the number went."""
        if not self.layers:
            return "unclear"
        if self.typical < NEGLIGIBLE:
            return "same"
        if self.p >= LEVEL or self.astray:
            return "unclear"
        return "up" if self.risen > self.fallen else "down"


def direction(values: Sequence[tuple[float | None, float | None]]) -> Direction:
    """Return what a number did over layers, from its values before and after; None where it is not defined.

    Example:
        >>> direction([(1.0, 1.5), (2.0, 2.5), (4.0, None)])
        Direction(before=1.5, after=2.0, risen=2, fallen=0, level=0, typical=0.375)
    """
    known = [(first, last) for first, last in values if first is not None and last is not None]
    if not known:
        return Direction(None, None, 0, 0, 0, 0.0)
    before, after = (fsum(side) / len(known) for side in zip(*known, strict=True))
    risen, fallen = sum(last > first for first, last in known), sum(last < first for first, last in known)
    typical = median(_relative(first, last) for first, last in known)
    return Direction(before, after, risen, fallen, len(known) - risen - fallen, typical)


def negligible(first: float, last: float) -> bool:
    """Return whether a number changed by less than 1 % of what it was.

    Example:
        >>> negligible(1.0, 1.009), negligible(1.0, 1.02), negligible(0.0, 0.0)
        (True, False, True)
    """
    return _relative(first, last) < NEGLIGIBLE


def as_change(way: Way, good: Good = None) -> Change:
    """Return what kind of change that is, if one of the ways is the better one.

    Example:
        >>> as_change("up"), as_change("up", good="up"), as_change("up", good="down"), as_change("same", good="up")
        ('different', 'better', 'worse', 'same')
    """
    if way == "same" or way == "unclear":
        return way
    if good is None:
        return "different"
    return "better" if way == good else "worse"


def tally(found: Direction, up: str = "up", down: str = "down") -> str:
    """Return in how many layers a number went which way, and what that is worth, as a clause.

    Example:
        >>> tally(direction([(1.0, 1.5)] * 9 + [(1.0, 0.5)]))
        'up in 9 of 10 layers and down in 1, p = 0.021'
        >>> tally(direction([(1.0, 1.5)]))
        'up in the only layer, too few layers to tell a direction'
    """
    if not found.layers:
        return "defined in no layer of both models"
    if not found.risen and not found.fallen:
        return "the same in the only layer" if found.layers == 1 else f"the same in all {found.layers} layers"
    text = _counts(found, up, down)
    if found.way == "same":
        where = "" if found.layers == 1 else " in the median layer"
        return f"{text}, by {percent(found.typical, 2)}{where}: too little to count"
    if found.layers < FEWEST:
        return f"{text}, too few layers to tell a direction"
    if found.p < LEVEL and found.astray:
        return f"{text}, while the mean went the other way"
    p = f"p = {number(found.p, 2)}" if found.p >= _SMALL else f"p < {number(_SMALL)}"
    return f"{text}, {p}{'' if found.p < LEVEL else ', no clear direction'}"


def _counts(found: Direction, up: str, down: str) -> str:
    if found.layers == 1:
        return f"{up if found.risen else down} in the only layer"
    parts = [(found.risen, up), (found.fallen, down)]
    (first, way), *other = [part for part in parts if part[0]]
    more = f" and {other[0][1]} in {other[0][0]}" if other else ""
    return f"{way} in {first} of {count(found.layers, 'layer')}{more}"


def _relative(first: float, last: float) -> float:
    return abs(last - first) / abs(first) if first else 0.0 if last == first else inf
