"""Accuracy against the strength of a disturbance: levels, and falls from the accuracy without any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from markupsafe import Markup

from refconv.measures.judging import share_interval
from refconv.measures.numbers import percent
from refconv.measures.pairs import Measured, models
from refconv.report.charts import Line, line_chart
from refconv.report.elements import Table


def accuracy_chart(
    items: Sequence[Measured],
    curve: Callable[[Any], Any],
    *,
    title: str,
    x_label: str,
    scale: float = 1.0,
) -> Markup:
    """Return accuracy against strength for the start and each pair, with 95 % intervals.

    Args:
        items: the pairs.
        curve: which curve of a model's record.
        title: of the chart.
        x_label: of the strengths.
        scale: what strengths are multiplied by.
    """
    lines = []
    for role, name, record in models(items):
        found = curve(record)
        bounds = [share_interval(share, record.samples) for share in found.accuracy]
        lines.append(
            Line(
                name,
                role,
                [scale * strength for strength in found.strengths],
                [100 * share for share in found.accuracy],
                low=[100 * low for low, _ in bounds],
                high=[100 * high for _, high in bounds],
            )
        )
    return line_chart(lines, title=title, x_label=x_label, y_label="accuracy, %", y_range=(0, 100))


def accuracy_table(
    items: Sequence[Measured],
    curve: Callable[[Any], Any],
    *,
    caption: str,
    strength: str,
    show: Callable[[float], str],
) -> Table:
    """Return accuracy against strength as a table, a column per model.

    Args:
        items: the pairs.
        curve: which curve of a model's record.
        caption: of the table.
        strength: what strengths are called.
        show: a strength as text.
    """
    columns = [(name, curve(record)) for _, name, record in models(items)]
    values = [dict(zip(found.strengths, found.accuracy, strict=True)) for _, found in columns]
    strengths = sorted({place for column in values for place in column})
    rows = tuple((show(place), *(percent(column.get(place)) for column in values)) for place in strengths)
    return Table(caption, (strength, *(name for name, _ in columns)), rows)
