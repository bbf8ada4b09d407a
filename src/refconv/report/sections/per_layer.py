"""Numbers per layer of several pairs with one start: as charts, tables and directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from refconv.measures.pairs import Measured, role_names
from refconv.report.charts import Dots, Guide, Role, dot_chart
from refconv.report.elements import Figure, Table
from refconv.report.numbers import count, number
from refconv.report.sections.direction import Direction, direction
from refconv.sentences import capital

PICTURED = 16
"""Layers at most that have a picture of their own."""

Thing = TypeVar("Thing")


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


def layer_figure(
    items: Sequence[Measured],
    quantity: Quantity,
    *,
    caption: str,
    log: bool = False,
    guides: Sequence[Guide] = (),
    choice: str | None = None,
    more: Mapping[str, Callable[[str], str]] | None = None,
) -> Figure:
    """Return a dot per layer and model, with all numbers in a table.

    Args:
        items: the pairs.
        quantity: what is shown; if ``choice`` is given its name is the option.
        caption: below the picture.
        log: whether equal factors get equal room.
        guides: values to compare with.
        choice: what the figure is an option of.
        more: further columns of the table: a cell by the layer's name.
    """
    found = values(items, quantity)
    names = role_names(items, before=quantity.sides)
    drawing = dot_chart(
        [Dots(layer, of_layer) for layer, of_layer in found.items()],
        names,
        title=f"{capital(quantity.name)} per layer",
        x_label=quantity.label,
        log=log,
        guides=guides,
    )
    columns = {"kind": kinds(items).__getitem__, **(more or {})}
    rows = tuple(
        (layer, *(quantity.show(of_layer.get(role)) for role in names), *(cell(layer) for cell in columns.values()))
        for layer, of_layer in found.items()
    )
    said = ", ".join(f"{name} {quantity.show(value)}" for name, value in means(items, quantity).items())
    what = f"{capital(quantity.name)} of {count(len(rows), 'layer')}"
    return Figure(
        drawing,
        alt=f"{what}, a dot per model. {'Mean' if len(rows) > 1 else 'Value'}: {said}{quantity.after_value}.",
        caption=caption,
        table=Table(f"{capital(quantity.label)} per layer", ("layer", *names.values(), *columns), rows),
        choice=choice,
        option=capital(quantity.name) if choice else None,
    )


def spread(things: Sequence[Thing], most: int = PICTURED) -> list[Thing]:
    """Return at most so many things, at even distances, the first and the last among them.

    Example:
        >>> spread(range(10), 4), spread(range(3), 4)
        ([0, 3, 6, 9], [0, 1, 2])
    """
    if len(things) <= most:
        return list(things)
    return [things[round(place * (len(things) - 1) / (most - 1))] for place in range(most)]


def pictured_note(shown: int, total: int, what: str) -> tuple[str, ...]:
    """Return the note that not every layer has a picture; nothing if each has one.

    Example:
        >>> pictured_note(16, 40, "matrix")
        ('A matrix is drawn for 16 of 40 layers, at even distances from the first to the last.',)
    """
    if shown >= total:
        return ()
    return (f"A {what} is drawn for {shown} of {total} layers, at even distances from the first to the last.",)


def _mean(found: Sequence[float | None]) -> float | None:
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known else None
