"""Charts as inline SVG and small pictures: plain numbers in, markup out, colours left to the page.

Colours are CSS custom properties of the page (``--ink``, ``--ink-soft``, ``--line``, ``--paper``, ``--role-before``,
``--role-0`` to ``--role-5``); the rest of the looks is in ``charts.css``, which belongs into the page once. What is
None, not a number or infinite counts as missing and leaves a gap. All drawings are hidden from screen readers: words
and a table beside them say the same. Values under the pointer are in ``data-tip`` attributes, a line per value.
"""

from refconv.report.charts.bars import Bars, bar_chart
from refconv.report.charts.contours import Surface, contour_maps
from refconv.report.charts.dots import Dots, dot_chart
from refconv.report.charts.labels import Role
from refconv.report.charts.lines import Line, line_chart
from refconv.report.charts.pictures import Heat, Photo, Sheet, heat_maps, kernel_sheets, photo_row
from refconv.report.charts.plane import Guide

__all__ = [
    "Bars", "Dots", "Guide", "Heat", "Line", "Photo", "Role", "Sheet", "Surface",
    "bar_chart", "contour_maps", "dot_chart", "heat_maps", "kernel_sheets", "line_chart", "photo_row",
]  # fmt: skip
