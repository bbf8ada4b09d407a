"""Numbers per layer of several pairs with one start: as charts, tables and directions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from refconv.measures.layers import Quantity, kinds, means, values
from refconv.measures.numbers import count
from refconv.measures.pairs import Measured, role_names
from refconv.report.charts import Dots, Guide, dot_chart
from refconv.report.elements import Figure, Table
from refconv.sentences import capital

PICTURED = 16
"""Layers at most that have a picture of their own."""

Thing = TypeVar("Thing")


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
