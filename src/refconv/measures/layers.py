"""Numbers per layer of several pairs with one start, and which way they went."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from refconv.measures.direction import Direction, direction
from refconv.measures.numbers import number
from refconv.measures.pairs import Measured, Role, role_names


@dataclass(frozen=True)
class Quantity:
    """A number that every layer of a record has.

    Attributes:
        name: what it is called in legends and tables.
        of: reads it from what the record says of one layer in one model; None where it is not defined.
        unit: behind its values; empty for plain numbers.
        sides: whether layers have it before and after, or once for both models.
        show: the number as text.
        over: what it is a share of, read from the row of the layer; not defined where that is zero.
    """

    name: str
    of: Callable[[Any], float | None]
    unit: str = ""
    sides: bool = True
    show: Callable[[float | None], str] = number
    over: Callable[[Any], float] = lambda row: 1.0

    @property
    def label(self) -> str:
        """The name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def after_value(self) -> str:
        """The unit as it follows a value."""
        return f" {self.unit}" if self.unit else ""

    def read(self, row: Any, side: Literal["before", "after"]) -> float | None:
        """Return the number of a row of a record; None if the layer has none on this side."""
        found = getattr(row, side) if self.sides else row
        value, whole = (None if found is None else self.of(found)), self.over(row)
        return None if value is None or not whole else value / whole


def field(name: str) -> Callable[[Any], float | None]:
    """Return what reads a field of this name."""

    def read(found: Any) -> float | None:
        value: float | None = getattr(found, name)
        return value

    return read


def kinds(items: Sequence[Measured]) -> dict[str, str]:
    """Return the kinds of all layers by their names, in their order; records without kinds are of depthwise layers."""
    return {row.layer: getattr(row, "kind", "depthwise") for item in items for row in item.record.layers}


def row_of(item: Measured, layer: str) -> Any:
    """Return what a record says of a layer; None if it does not hold it."""
    return next((row for row in item.record.layers if row.layer == layer), None)


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


def course_of(item: Measured, quantity: Quantity) -> Direction:
    """Return which way a number went between before and after, over the layers of one pair."""
    rows = item.record.layers
    return direction([(quantity.read(row, "before"), quantity.read(row, "after")) for row in rows])


def contrast_of(subject: Measured, reference: Measured, quantity: Quantity) -> Direction:
    """Return which way a number goes from the result of one pair, `reference`, to that of another."""
    theirs = {row.layer: quantity.read(row, "after") for row in reference.record.layers}
    rows = subject.record.layers
    return direction([(theirs[row.layer], quantity.read(row, "after")) for row in rows if row.layer in theirs])


def means(items: Sequence[Measured], quantity: Quantity) -> dict[str, float | None]:
    """Return the mean over layers of the start and of each pair, by their names, layers without the number left out."""
    found = values(items, quantity)
    names = role_names(items, before=quantity.sides)
    return {name: _mean([of_layer.get(role) for of_layer in found.values()]) for role, name in names.items()}


def _mean(found: Sequence[float | None]) -> float | None:
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None
