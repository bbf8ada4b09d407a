"""Numbers per layer of several pairs with one start: which way they went, and the sentences on that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Literal

from refconv.measures.direction import Direction, Good, as_change, direction, tally
from refconv.measures.numbers import Show, compared, course, number
from refconv.measures.pairs import Measured, Role, role_names
from refconv.measures.tables import mean
from refconv.measures.verdict import Said
from refconv.sentences import capital


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
    #: what it is a share of, read from the row of the layer; not defined where that is zero
    over: Callable[[Any], float] = lambda row: 1.0

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
    """Return where a number went, without a full stop.

    Example:
        >>> course_clause(direction([(1.0, 2.0), (2.0, 3.0)]), Quantity("cosine", float))
        'the mean cosine rises from 1.5 to 2.5 (up in 2 of 2 layers, too few layers to tell a direction)'
    """
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


def contrast_said(subject: Measured, reference: Measured, quantity: Quantity, good: Good = None) -> Said:
    """Return how a pair's result stands to that of another."""
    found = contrast_of(subject, reference, quantity)
    text = f"Where {subject.name} ends, {contrast_clause(found, quantity, reference.name)}."
    return text, as_change(found.way, good), found.p
