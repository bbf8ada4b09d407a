"""Numbers per layer: which way they went, whether that is more than a coin would do, and the sentences on it.

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

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import fsum, inf
from operator import attrgetter
from statistics import median
from typing import Any, Literal

from refconv.measures.judging import Change, mcnemar
from refconv.measures.numbers import Show, compared, count, course, number, percent
from refconv.measures.pairs import Measured, Role, role_names
from refconv.measures.tables import mean
from refconv.measures.verdict import Said
from refconv.sentences import capital

Way = Literal["up", "down", "same", "unclear"]
Good = Literal["up", "down"] | None  #: Which way is the better one, if one is
LEVEL = 0.05
NEGLIGIBLE = 0.01  #: Share of what it was that the median layer's number must change by to count
_SMALL = 0.001
FEWEST = 6  #: Layers that have to agree for p to come below the level

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
    """Return what a number did over layers, from its values before and after; None where it is not defined."""
    known = [(first, last) for first, last in values if first is not None and last is not None]
    if not known:
        return Direction(None, None, 0, 0, 0, 0.0)
    before, after = (fsum(side) / len(known) for side in zip(*known, strict=True))
    risen, fallen = sum(last > first for first, last in known), sum(last < first for first, last in known)
    typical = median(_relative(first, last) for first, last in known)
    return Direction(before, after, risen, fallen, len(known) - risen - fallen, typical)


def moved(share: float) -> Change:
    """Return ``same`` for a change of less than 1 % of the original value, else ``different``."""
    return "same" if share < NEGLIGIBLE else "different"


def change_of(first: float, last: float) -> Change:
    """Return ``same`` where a number changed by less than 1 % of what it was, else ``different``."""
    return moved(_relative(first, last))


def as_change(way: Way, good: Good = None) -> Change:
    """Return what kind of change that is, if one of the ways is the better one."""
    if way == "same" or way == "unclear":
        return way
    if good is None:
        return "different"
    return "better" if way == good else "worse"


def tally(found: Direction, up: str = "up", down: str = "down") -> str:
    """Return in how many layers a number went which way, and what that is worth, as a clause."""
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


@dataclass(frozen=True)
class Quantity:
    """A number that every layer of a record has."""

    name: str  #: what it is called in legends and tables
    #: the field, or a function that reads the number from what the record says of one layer in one model; None where it
    #: is not defined
    of: str | Callable[[Any], float | None]
    unit: str = ""  #: behind its values; empty for plain numbers
    sides: bool = True  #: whether layers have it before and after, or once for both models
    show: Show = number  #: the number as text
    over: Callable[[Any], float] = lambda row: 1.0  #: what it is a share of, by the row; not defined where that is zero

    @property
    def label(self) -> str:
        """The name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def shown(self, value: float | None) -> str:
        """Return a value with its unit."""
        return f"{self.show(value)} {self.unit}" if self.unit else self.show(value)

    def value(self, found: Any) -> float | None:
        """Return the number of one layer in one model."""
        of: Callable[[Any], float | None] = attrgetter(self.of) if isinstance(self.of, str) else self.of
        return of(found)

    def read(self, row: Any, side: Literal["before", "after"]) -> float | None:
        """Return the number of a row of a record; None if the layer has none on this side."""
        found = getattr(row, side) if self.sides else row
        value, whole = (None if found is None else self.value(found)), self.over(row)
        return None if value is None or not whole else value / whole


def kinds(items: Sequence[Measured]) -> dict[str, str]:
    """Return the kinds of all layers by their names, in their order; records without kinds are of depthwise layers."""
    return {row.layer: getattr(row, "kind", "depthwise") for item in items for row in item.record.layers}


def row_of(item: Measured, layer: str) -> Any:
    """Return what a record says of a layer; None if it does not hold it."""
    return next((row for row in item.record.layers if row.layer == layer), None)


def rows_of(items: Sequence[Measured], layer: str) -> list[tuple[Measured, Any]]:
    """Return the pairs whose record holds a layer, with what it says."""
    return [(item, row) for item in items if (row := row_of(item, layer)) is not None]


def values(items: Sequence[Measured], quantity: Quantity) -> dict[str, dict[Role, float | None]]:
    """Return a number by layer and role; of the start it is that which the first pair with the layer found."""
    found: dict[str, dict[Role, float | None]] = {}
    for item in items:
        for row in item.record.layers:
            of_layer = found.setdefault(row.layer, {})
            if quantity.sides:
                of_layer.setdefault("before", quantity.read(row, "before"))
            of_layer[item.role] = quantity.read(row, "after")
    return found


def means(items: Sequence[Measured], quantity: Quantity) -> dict[str, float | None]:
    """Return the mean over layers of the start and of each pair, by their names, layers without the number left out."""
    found = values(items, quantity)
    names = role_names(items, before=quantity.sides)
    return {name: mean([of_layer.get(role) for of_layer in found.values()]) for role, name in names.items()}


def course_of(item: Measured, quantity: Quantity) -> Direction:
    """Return which way a number went between before and after, over the layers of one pair."""
    rows = item.record.layers
    return direction([(quantity.read(row, "before"), quantity.read(row, "after")) for row in rows])


def contrast_of(subject: Measured, reference: Measured, quantity: Quantity) -> Direction:
    """Return which way a number goes from the result of one pair, `reference`, to that of another."""
    theirs = {row.layer: quantity.read(row, "after") for row in reference.record.layers}
    rows = subject.record.layers
    return direction([(theirs[row.layer], quantity.read(row, "after")) for row in rows if row.layer in theirs])


def mean_of(found: Direction, name: str) -> str:
    """Return what the number of a direction is called: a mean unless there is but one layer."""
    return f"the {name}" if found.layers == 1 else f"the mean {name}"


def course_clause(found: Direction, quantity: Quantity) -> str:
    """Return where a number went, without a full stop."""
    if not found.layers:
        return f"the {quantity.name} is defined in no layer of both models"
    unit = f" {quantity.unit}" if quantity.unit else ""
    went = f"{course(quantity.show, found.before, found.after)}{unit}"
    return f"{mean_of(found, quantity.name)} {went} ({tally(found)})"


def contrast_clause(found: Direction, quantity: Quantity, than: str) -> str:
    """Return how a number stands to that of the pair called ``than``, without a full stop."""
    if found.before is None or found.after is None:
        return f"the {quantity.name} cannot be compared with {than}"
    ends = compared(quantity.shown, than, found.after, found.before)
    return f"{mean_of(found, quantity.name)} is {ends} ({tally(found, 'higher', 'lower')})"


def course_said(item: Measured, quantity: Quantity, good: Good = None) -> Said:
    """Return where a number went between before and after."""
    found = course_of(item, quantity)
    return f"{capital(course_clause(found, quantity))}.", as_change(found.way, good), found.p


def contrasts_of(*quantities: Quantity, good: Good = None) -> Callable[[Measured, Measured], list[Said]]:
    """Return the contrasts of a verdict: how quantities of one pair's result stand to those of another."""
    return lambda subject, reference: [contrast_said(subject, reference, one, good) for one in quantities]


def contrast_said(subject: Measured, reference: Measured, quantity: Quantity, good: Good = None) -> Said:
    """Return how a pair's result stands to that of another."""
    found = contrast_of(subject, reference, quantity)
    text = f"Where {subject.name} ends, {contrast_clause(found, quantity, reference.name)}."
    return text, as_change(found.way, good), found.p
