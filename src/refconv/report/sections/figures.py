"""Figures of the usual kinds, each with its table: curves, bars and dots, a mark per model, and words on all models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from markupsafe import Markup

from refconv.measures.judging import share_interval
from refconv.measures.layers import Quantity, kinds, means, values
from refconv.measures.numbers import Show, count, number, percent
from refconv.measures.pairs import Measured, Role, models, role_names
from refconv.report.charts import Bars, Dots, Guide, Line, bar_chart, dot_chart, line_chart
from refconv.report.elements import Figure, Table
from refconv.report.sections.spec import Items
from refconv.sentences import capital

PICTURED = 16  #: Layers at most that have a picture of their own
Thing = TypeVar("Thing")
Values = Mapping[str, Mapping[Role, float | None]]
"""Numbers by what they are of, such as a layer or a class, and by model."""


def figure(
    drawing: Markup,
    *,
    alt: str,
    caption: str,
    table: str,
    header: Iterable[str],
    rows: Iterable[tuple[str, ...]],
    choice: str | None = None,
    option: str | None = None,
) -> Figure:
    """Return a drawing with its table, whose caption ``table`` is; ``choice``: what it is an ``option`` of."""
    return Figure(drawing, alt, caption, Table(table, tuple(header), tuple(rows)), choice, option)


def by_role(items: Items, value: Callable[[Any], Thing]) -> dict[Role, Thing]:
    """Return something of each model's record, the start's first."""
    return {role: value(record) for role, _, record in models(items)}


def said(items: Items, text: Callable[[Any], str], between: str = ", ") -> str:
    """Return the name of each model with a text on its record, as an enumeration."""
    return between.join(f"{name} {text(record)}" for _, name, record in models(items))


def pairs_said(items: Items, text: Callable[[Any], str]) -> str:
    """Return the name of each pair with a text on its record, as an enumeration."""
    return ", ".join(f"{item.name} {text(item.record)}" for item in items)


def model_rows(items: Items, cells: Callable[[Any], Iterable[str]]) -> list[tuple[str, ...]]:
    """Return a row of a table per model: its name and cells on its record."""
    return [(name, *cells(record)) for _, name, record in models(items)]


def names_of(items: Items) -> list[str]:
    """Return the names of the models, the start's first."""
    return list(role_names(items).values())


@dataclass(frozen=True)
class Curve:
    """The values of one model along an axis."""

    name: str
    role: Role
    x: Sequence[float]  #: places on the axis
    y: Sequence[float | None]  #: values there
    #: how many samples the values are shares of; 0 if they are no shares. Shares are drawn in percent, with 95 %
    #: intervals
    samples: int = 0

    def line(self, scale: float) -> Line:
        """Return what is drawn, places multiplied by ``scale``."""
        x = [scale * place for place in self.x]
        if not self.samples:
            return Line(self.name, self.role, x, self.y)
        bounds = [share_interval(share, self.samples) for share in self.y if share is not None]
        low, high = ([100 * bound for bound in side] for side in zip(*bounds, strict=True))
        return Line(self.name, self.role, x, [100 * (share or 0.0) for share in self.y], low=low, high=high)


def accuracies(items: Items, curve: Callable[[Any], Any]) -> list[Curve]:
    """Return accuracy against the strength of a disturbance, the given curve of each model's record."""
    found = [(role, name, record, curve(record)) for role, name, record in models(items)]
    return [Curve(name, role, one.strengths, one.accuracy, record.samples) for role, name, record, one in found]


def curve_figure(
    curves: Sequence[Curve],
    *,
    title: str,
    alt: str,
    caption: str,
    head: str,
    scale: float = 1.0,
    show_x: Callable[[float], str] = number,
    show: Show = percent,
    table: str | None = None,
    before: Sequence[tuple[str, ...]] = (),
    behind: Sequence[tuple[str, ...]] = (),
    choice: str | None = None,
    option: str | None = None,
    **axes: Any,
) -> Figure:
    """Return curves, a line per model, with a table that has a column for each.

    Args:
        curves: one per model.
        title: of the chart.
        alt: what is to be seen.
        caption: below the picture.
        head: what places are called in the table.
        scale: what places are multiplied by in the chart.
        show_x: a place as text.
        show: a value as text.
        table: caption of the table; by default the title.
        before: rows above those of the places.
        behind: rows below them.
        choice: what the figure is an option of.
        option: which one.
        axes: settings of the chart.
    """
    columns = [dict(zip(curve.x, curve.y, strict=True)) for curve in curves]
    places = sorted({place for column in columns for place in column})
    rows = [(show_x(place), *(show(column.get(place)) for column in columns)) for place in places]
    drawing = line_chart([curve.line(scale) for curve in curves], title=title, **axes)
    cells = Table(table or title, (head, *(curve.name for curve in curves)), (*before, *rows, *behind))
    return Figure(drawing, alt, caption, cells, choice, option)


def bar_figure(
    values: Values,
    names: Mapping[Role, str],
    *,
    title: str,
    alt: str,
    caption: str,
    head: str = "",
    show: Show = percent,
    factor: float = 1.0,
    sparse: bool = False,
    errors: Values | None = None,
    table: Table | None = None,
    **axes: Any,
) -> Figure:
    """Return a group of bars per name, a bar per model, with the same numbers in a table.

    Args:
        values: by name and model.
        names: what the models are called.
        title: of the chart and the table.
        alt: what is to be seen.
        caption: below the picture.
        head: what the names are called in the table.
        show: a value as text.
        factor: what values are multiplied by in the chart.
        sparse: whether names whose values are all zero are left out of the chart.
        errors: half the length of error bars, in the unit of values.
        table: another table.
        axes: settings of the chart.
    """
    bars = [
        Bars(name, _scaled(of, factor), _scaled((errors or {}).get(name, {}), factor))
        for name, of in values.items()
        if not sparse or any(of.values())
    ]
    drawing = bar_chart(bars, names, title=title, **axes)
    return Figure(drawing, alt, caption, table or _table(values, names, title, head, show))


def dot_figure(
    values: Values,
    names: Mapping[Role, str],
    *,
    title: str,
    alt: str,
    caption: str,
    head: str = "",
    show: Show = percent,
    factor: float = 1.0,
    table: Table | None = None,
    **axes: Any,
) -> Figure:
    """Return a row per name, a dot per model, with the same numbers in a table; arguments as `bar_figure`'s."""
    dots = [Dots(name, _scaled(of, factor)) for name, of in values.items()]
    drawing = dot_chart(dots, names, title=title, **axes)
    return Figure(drawing, alt, caption, table or _table(values, names, title, head, show))


def _scaled(values: Mapping[Role, Any], factor: float) -> dict[Role, Any]:
    return {role: None if value is None else factor * value for role, value in values.items()}


def _table(values: Values, names: Mapping[Role, str], title: str, head: str, show: Show) -> Table:
    rows = ((name, *(show(of.get(role)) for role in names)) for name, of in values.items())
    return Table(title, (head, *names.values()), tuple(rows))


def layer_figure(
    items: Sequence[Measured],
    quantity: Quantity,
    caption: str,
    *,
    guides: Sequence[Guide] = (),
    more: Mapping[str, Callable[[str], str]] | None = None,
) -> Figure:
    """Return a dot per layer and model, with all numbers in a table: an option of the measures of a section.

    Args:
        items: the pairs.
        quantity: what is shown.
        caption: below the picture.
        guides: values to compare with.
        more: further columns of the table: a cell by the layer's name.
    """
    found, title = values(items, quantity), capital(quantity.name)
    names = role_names(items, before=quantity.sides)
    dots = [Dots(layer, of_layer) for layer, of_layer in found.items()]
    columns = {"kind": kinds(items).__getitem__, **(more or {})}
    rows = (
        (layer, *(quantity.show(of_layer.get(role)) for role in names), *(cell(layer) for cell in columns.values()))
        for layer, of_layer in found.items()
    )
    ends = ", ".join(f"{name} {quantity.show(value)}" for name, value in means(items, quantity).items())
    mean, unit = "Mean" if len(found) > 1 else "Value", f" {quantity.unit}" if quantity.unit else ""
    return figure(
        dot_chart(dots, names, title=f"{title} per layer", x_label=quantity.label, guides=guides),
        alt=f"{title} of {count(len(found), 'layer')}, a dot per model. {mean}: {ends}{unit}.",
        caption=caption,
        table=f"{capital(quantity.label)} per layer",
        header=("layer", *names.values(), *columns),
        rows=rows,
        choice="measure",
        option=title,
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


def pictured_note(total: int, what: str) -> str:
    """Return the note that not every one of so many layers has a picture; nothing if each has one.

    Example:
        >>> pictured_note(40, "matrix")
        'A matrix is drawn for 16 of 40 layers, at even distances from the first to the last.'
    """
    if total <= PICTURED:
        return ""
    return f"A {what} is drawn for {PICTURED} of {total} layers, at even distances from the first to the last."


def samples_note(record: Any) -> str:
    """Return over how many samples a record is, and whether there were more."""
    return f"Measured on {count(record.samples, 'sample')}{of_more(record.cut)}."


def of_more(cut: bool) -> str:
    """Return the words for samples that are not all."""
    return " drawn from more" if cut else ""
