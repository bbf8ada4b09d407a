"""Figures of the usual kinds, each with its table: curves against a number, and bars by name, one per model."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.measures.judging import share_interval
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured, Role, models
from refconv.report.charts import Bars, Line, bar_chart, line_chart
from refconv.report.elements import Figure, Table

Show = Callable[[float | None], str]


@dataclass(frozen=True)
class Curve:
    """The values of one model along an axis.

    Attributes:
        name: the model's.
        role: the model's.
        x: places on the axis.
        y: values there.
        samples: how many samples the values are shares of; 0 if they are no shares. Shares are drawn in percent, with
            95 % intervals.
    """

    name: str
    role: Role
    x: Sequence[float]
    y: Sequence[float | None]
    samples: int = 0

    def line(self, scale: float) -> Line:
        """Return what is drawn.

        Args:
            scale: what places are multiplied by.
        """
        x = [scale * place for place in self.x]
        if not self.samples:
            return Line(self.name, self.role, x, self.y)
        bounds = [share_interval(share, self.samples) for share in self.y if share is not None]
        low, high = ([100 * bound for bound in side] for side in zip(*bounds, strict=True))
        return Line(self.name, self.role, x, [100 * (share or 0.0) for share in self.y], low=low, high=high)


def accuracies(items: Sequence[Measured], curve: Callable[[Any], Any]) -> list[Curve]:
    """Return accuracy against the strength of a disturbance, of the start and each pair.

    Args:
        items: the pairs.
        curve: which curve of a model's record.
    """
    found = [(role, name, record, curve(record)) for role, name, record in models(items)]
    return [Curve(name, role, one.strengths, one.accuracy, record.samples) for role, name, record, one in found]


def curve_figure(
    curves: Sequence[Curve],
    *,
    title: str,
    x_label: str,
    y_label: str,
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
        x_label: below it.
        y_label: beside it.
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
        axes: further settings of the chart.
    """
    columns = [dict(zip(curve.x, curve.y, strict=True)) for curve in curves]
    places = sorted({place for column in columns for place in column})
    rows = [(show_x(place), *(show(column.get(place)) for column in columns)) for place in places]
    drawing = line_chart([c.line(scale) for c in curves], title=title, x_label=x_label, y_label=y_label, **axes)
    cells = Table(table or title, (head, *(curve.name for curve in curves)), (*before, *rows, *behind))
    return Figure(drawing, alt, caption, cells, choice, option)


def bar_figure(
    bars: Mapping[str, Mapping[Role, float | None]],
    names: Mapping[Role, str],
    *,
    title: str,
    y_label: str,
    alt: str,
    caption: str,
    head: str,
    show: Show = percent,
    factor: float = 1.0,
    sparse: bool = False,
    table: Table | None = None,
    **axes: Any,
) -> Figure:
    """Return a group of bars per name, a bar per model, with the same numbers in a table.

    Args:
        bars: values by name and model.
        names: what the models are called.
        title: of the chart and the table.
        y_label: beside the chart.
        alt: what is to be seen.
        caption: below the picture.
        head: what the names are called in the table.
        show: a value as text.
        factor: what values are multiplied by in the chart.
        sparse: whether names whose values are all zero are left out of the chart.
        table: another table.
        axes: further settings of the chart.
    """
    drawn = [
        Bars(name, {role: None if value is None else factor * value for role, value in values.items()})
        for name, values in bars.items()
        if not sparse or any(values.values())
    ]
    rows = tuple((name, *(show(values.get(role)) for role in names)) for name, values in bars.items())
    drawing = bar_chart(drawn, names, title=title, y_label=y_label, **axes)
    return Figure(drawing, alt, caption, table or Table(title, (head, *names.values()), rows))
