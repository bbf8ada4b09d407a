"""Figures of the usual kinds, each with its table: curves, bars and dots, a mark per model, and words on all models.

All of them take ``alt``, what is to be seen; ``caption``, below the picture; ``option``, a choice such as ``layer`` and
which one of it the figure is; and as keywords the settings of the chart, such as the labels of its axes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, TypeVar

from markupsafe import Markup

from refconv.measures.judging import share_interval
from refconv.measures.layers import Quantity, kinds, means, values
from refconv.measures.numbers import Show, count, number, percent
from refconv.measures.pairs import Role, models, role_names
from refconv.report.charts import Bars, Dots, Guide, Line, bar_chart, dot_chart, line_chart
from refconv.report.elements import Figure, Items, Table
from refconv.sentences import capital

PICTURED = 16  #: layers at most that have a picture of their own
Row = tuple[str, ...]
Option = tuple[str | None, str | None]  #: A choice and which one of it
Thing = TypeVar("Thing")
Values = Mapping[str, Mapping[Role, float | None]]  #: numbers by what they are of, such as a layer, and by model


def figure(
    drawing: Markup, table: str, header: Iterable[str], rows: Iterable[Row], *, alt: str, caption: str,
    option: Option = (None, None),
) -> Figure:  # fmt: skip
    """Return a drawing with its table, whose caption ``table`` is."""
    return Figure(drawing, alt, caption, Table(table, tuple(header), tuple(rows)), *option)


def axes(x: str, y: str) -> dict[str, Any]:
    """Return the labels of the two axes of a chart."""
    return {"x_label": x, "y_label": y}


def by_role(items: Items, value: Callable[[Any], Thing]) -> dict[Role, Thing]:
    """Return something of each model's record, the start's first."""
    return {role: value(record) for role, _, record in models(items)}


def said(items: Items, text: Callable[[Any], str]) -> str:
    """Return the name of each model with a text on its record, as an enumeration."""
    return ", ".join(f"{name} {text(record)}" for _, name, record in models(items))


def pairs_said(items: Items, text: Callable[[Any], str]) -> str:
    """Return the name of each pair with a text on its record, as an enumeration."""
    return ", ".join(f"{item.name} {text(item.record)}" for item in items)


def model_rows(items: Items, cells: Callable[[Any], Iterable[str]]) -> list[Row]:
    """Return a row of a table per model: its name and cells on its record."""
    return [(name, *cells(record)) for _, name, record in models(items)]


@dataclass(frozen=True)
class Curve:
    """The values of one model along an axis."""

    name: str
    role: Role
    x: Sequence[float]
    y: Sequence[float | None]
    samples: int = 0  #: that the values are shares of, which are drawn in percent with 95 % intervals; 0 for no shares

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
    curves: Sequence[Curve], title: str, head: str, *, alt: str, caption: str, scale: float = 1.0,
    show_x: Callable[[float], str] = number, show: Show = percent, table: str | None = None,
    before: Sequence[Row] = (), behind: Sequence[Row] = (), option: Option = (None, None), **settings: Any,
) -> Figure:  # fmt: skip
    """Return curves, a line per model, with a table that has a column for each under ``head``, what places are.

    Places are multiplied by ``scale`` in the chart; ``before`` and ``behind`` are further rows of the table.
    """
    columns = [dict(zip(curve.x, curve.y, strict=True)) for curve in curves]
    places = sorted({place for column in columns for place in column})
    rows = [(show_x(place), *(show(column.get(place)) for column in columns)) for place in places]
    drawing = line_chart([curve.line(scale) for curve in curves], title=title, **settings)
    header, rows = (head, *(curve.name for curve in curves)), [*before, *rows, *behind]
    return figure(drawing, table or title, header, rows, alt=alt, caption=caption, option=option)


def value_figure(
    chart: Literal["bars", "dots"], values: Values, names: Mapping[Role, str], title: str, head: str = "", *,
    alt: str, caption: str, show: Show = percent, factor: float = 1.0, sparse: bool = False,
    errors: Values | None = None, table: Table | None = None, **settings: Any,
) -> Figure:  # fmt: skip
    """Return a group of bars or a row of dots per name of ``values``, a mark per model, and a table.

    Numbers are multiplied by ``factor`` in the chart, and so are ``errors``, half the length of error bars; names whose
    values are all zero are not drawn in a ``sparse`` one.
    """
    drawn = {name: _scaled(of, factor) for name, of in values.items() if not sparse or any(of.values())}
    if chart == "bars":
        reach = {name: _scaled(of, factor) for name, of in (errors or {}).items()}
        bars = [Bars(name, of, reach.get(name, {})) for name, of in drawn.items()]
        drawing = bar_chart(bars, names, title=title, **settings)
    else:
        drawing = dot_chart([Dots(name, of) for name, of in drawn.items()], names, title=title, **settings)
    rows = ((name, *(show(of.get(role)) for role in names)) for name, of in values.items())
    return Figure(drawing, alt, caption, table or Table(title, (head, *names.values()), tuple(rows)))


bar_figure = partial(value_figure, "bars")
dot_figure = partial(value_figure, "dots")


def _scaled(values: Mapping[Role, Any], factor: float) -> dict[Role, Any]:
    return {role: None if value is None else factor * value for role, value in values.items()}


def layer_figure(
    items: Items, quantity: Quantity, caption: str, *, guides: Sequence[Guide] = (),
    more: Mapping[str, Callable[[str], str]] | None = None,
) -> Figure:  # fmt: skip
    """Return a dot per layer and model, one of the measures of a section; ``more``: columns, a cell by the layer."""
    found, title = values(items, quantity), capital(quantity.name)
    names = role_names(items, before=quantity.sides)
    columns = {"kind": kinds(items).__getitem__, **(more or {})}
    rows = tuple(
        (layer, *(quantity.show(of_layer.get(role)) for role in names), *(cell(layer) for cell in columns.values()))
        for layer, of_layer in found.items()
    )
    ends = ", ".join(f"{name} {quantity.show(value)}" for name, value in means(items, quantity).items())
    mean, unit = "Mean" if len(found) > 1 else "Value", f" {quantity.unit}" if quantity.unit else ""
    dots = [Dots(layer, of_layer) for layer, of_layer in found.items()]
    return figure(
        dot_chart(dots, names, title=f"{title} per layer", x_label=quantity.label, guides=guides),
        f"{capital(quantity.label)} per layer", ("layer", *names.values(), *columns), rows,
        alt=f"{title} of {count(len(found), 'layer')}, a dot per model. {mean}: {ends}{unit}.",
        caption=caption,
        option=("measure", title),
    )  # fmt: skip


def spread(things: Sequence[Thing], most: int = PICTURED) -> list[Thing]:
    """Return at most so many things, at even distances, the first and the last among them."""
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


def on_samples(record: Any) -> str:
    """Return over how many samples a record is, and whether there were more."""
    return f"Measured on {count(record.samples, 'sample')}{of_more(record.cut)}."


def of_more(cut: bool) -> str:
    """Return the words for samples that are not all."""
    return " drawn from more" if cut else ""
