"""Lines over a plane."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import TypeVar

from markupsafe import Markup

from refconv.measures.numbers import number
from refconv.report.charts.axes import Axis, Range, finite, fit
from refconv.report.charts.labels import Role, legend, marks, role_class
from refconv.report.charts.plane import EDGE, FOOT, WIDTH, Guide, Plane, guide_lines, level_ticks, margin, upright_ticks
from refconv.report.charts.svg import NOTHING, above, below, block, box, drawing, element, group, hit, path

T = TypeVar("T")
_HEIGHT = 236.0
_MARKED = 25  # a line of at most so many points shows each; of a longer one about a third as many
_COLUMNS = 60


@dataclass(frozen=True)
class Line:
    """One curve: positions x, ascending, as many values y, None leaves a gap, and the ends of a band around it."""

    name: str
    role: Role
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float | None] | None = None
    high: Sequence[float | None] | None = None


def line_chart(
    lines: Sequence[Line], *, title: str, x_label: str, y_label: str,
    y_log: bool = False, y_range: Range | None = None, guides: Sequence[Guide] = (),
) -> Markup:  # fmt: skip
    """Return curves over one plane, later ones on top, with a legend and the values at each position under the pointer.

    By default the upright axis holds values, bands and guides. A diagonal guide makes the plane square: it takes both
    axes from the range. Values that are not positive are left out on a logarithmic axis.
    """
    plane = _plane(lines, guides, y_log=y_log, y_range=y_range)
    if plane is None:
        return block("lines", NOTHING, title=title)
    under, labelled = guide_lines(plane, guides)
    strokes = [("".join(path(run) for run in _runs(plane, line) if len(run) > 1), line.role) for line in lines]
    drawn = [element("path", class_=f"c-line {role_class(role)}", d=stroke) for stroke, role in strokes if stroke]
    curves = plane.clipped([*(_band(plane, line) for line in lines), *drawn])
    foot = path([(plane.x.start, plane.y.start), (plane.x.end, plane.y.start)])
    parts = [level_ticks(plane), upright_ticks(plane), element("path", class_="c-axis", d=foot), under, curves]
    parts += [*(_shapes(plane, line) for line in lines), labelled, _columns(plane, lines, x_label)]
    picture = drawing(WIDTH, plane.y.start + FOOT, *parts)
    keys = legend([(line.role, line.name) for line in lines])
    return block("lines", keys, above(y_label), picture, below(x_label), title=title)


def _plane(lines: Sequence[Line], guides: Sequence[Guide], *, y_log: bool, y_range: Range | None) -> Plane | None:
    level = [x for line in lines for x, y in zip(line.x, line.y, strict=True) if finite([x]) and finite([y])]
    values = [value for line in lines for ys in (line.y, line.low, line.high) if ys is not None for value in ys]
    square = any(guide.axis == "diagonal" for guide in guides)
    foot = EDGE + (WIDTH - 60 if square else _HEIGHT)
    up = [*values, *(guide.value for guide in guides if guide.axis == "y")]
    y = Axis(*y_range, foot, EDGE, y_log) if y_range else fit(up, foot, EDGE, log=y_log)
    if y is None or not any(y.place(value) is not None for value in values):
        return None
    left, right = margin(y.ticks()), WIDTH - EDGE
    x = Axis(y.low, y.high, left, right) if square else fit(level, left, right, room=0.03)
    return Plane(x, y) if x else None


def _stretches(items: Iterable[T | None]) -> list[list[T]]:
    """Return what lies between gaps, in order."""
    runs = groupby(items, lambda item: item is not None)
    return [[item for item in run if item is not None] for there, run in runs if there]


def _runs(plane: Plane, line: Line) -> list[list[tuple[float, float]]]:
    return _stretches(plane.point(x, y) for x, y in zip(line.x, line.y, strict=True))


def _shapes(plane: Plane, line: Line) -> Markup:
    """Return the shapes on a line: all of its points if they are few, and those that no line joins."""
    runs = _runs(plane, line)
    points = [point for run in runs for point in run]
    every = 1 if len(points) <= _MARKED else math.ceil(3 * len(points) / _MARKED)
    alone = [run[0] for run in runs if len(run) == 1 and every > 1]
    return marks(line.role, [point for point in [*points[::every], *alone] if plane.holds(*point)])


def _band(plane: Plane, line: Line) -> Markup:
    if line.low is None or line.high is None:
        return Markup("")
    ends = [(plane.point(x, a), plane.point(x, b)) for x, a, b in zip(line.x, line.low, line.high, strict=True)]
    outline, stems = "", ""
    for run in _stretches((a, b) if a is not None and b is not None else None for a, b in ends):
        if len(run) > 1:
            outline += path([*(a for a, _ in run), *(b for _, b in reversed(run))], closed=True)
        else:
            stems += path(run[0])
    parts = [element("path", class_=c, d=d) for c, d in (("c-band", outline), ("c-error", stems)) if d]
    return group(parts, role_class(line.role))


def _columns(plane: Plane, lines: Sequence[Line], x_label: str) -> Markup:
    """Return an invisible column per position that says what every line has there."""
    points = {x for line in lines for x, y in zip(line.x, line.y, strict=True) if plane.point(x, y) is not None}
    positions = sorted(points)[:: math.ceil(len(points) / _COLUMNS)]
    places = [place for x in positions if (place := plane.x.place(x)) is not None]
    edges = [plane.x.start, *((a + b) / 2 for a, b in pairwise(places)), plane.x.end]
    columns = []
    for x, left, right in zip(positions, edges[:-1], edges[1:], strict=True):
        words = "\n".join([f"{x_label} {number(x)}", *(said for line in lines if (said := _at(line, x)))])
        columns.append(hit(box(left, plane.y.end, right - left, plane.y.start - plane.y.end), words))
    return group(columns, "c-hits")


def _at(line: Line, x: float) -> str:
    """Return what a line has at a position, in words."""
    for i, position in enumerate(line.x):
        value = line.y[i]
        if position == x and value is not None and math.isfinite(value):
            low, high = (ends[i] if ends is not None else None for ends in (line.low, line.high))
            band = f" ({number(low)} to {number(high)})" if len(finite([low, high])) == 2 else ""
            return f"{line.name} {number(value)}{band}".strip()
    return ""
