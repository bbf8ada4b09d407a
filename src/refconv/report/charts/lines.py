"""Lines over an axis."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from refconv.report.charts.frames import block, empty
from refconv.report.charts.plane import Guide
from refconv.report.charts.roles import Role, legend


@dataclass(frozen=True)
class Line:
    """One curve of a line chart.

    Attributes:
        name: what the legend calls it.
        role: which model it stands for.
        x: positions, ascending.
        y: as many values; None leaves a gap.
        low: lower end of a band around the line, as many values.
        high: its upper end.
    """

    name: str
    role: Role
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None


def line_chart(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_log: bool = False,
    y_log: bool = False,
    y_range: tuple[float, float] | None = None,
    guides: Sequence[Guide] = (),
) -> Markup:
    """Return curves over one plane."""
    if not lines:
        return empty("lines", title)
    return block("lines", legend({line.role: line.name for line in lines}), title=title)
