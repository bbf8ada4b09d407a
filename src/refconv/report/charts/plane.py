"""The plane of a chart: grid, ticks and guides between two axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from refconv.report.charts.axes import Axis
from refconv.report.charts.labels import TEXT, Places, text, width
from refconv.report.charts.svg import coordinate, element, group, path

WIDTH = 400.0  # of a drawing in its own units
EDGE = 12.0  # room at the right of a plane, and above it
FOOT = 22.0  # room below a plane, for the labels of its ticks
_GAP = 6.0


@dataclass(frozen=True)
class Guide:
    """A labelled line to compare with: upright at a value of x, level at a value of y, or the diagonal of a square."""

    axis: Literal["x", "y", "diagonal"]
    value: float = 0
    label: str = ""


@dataclass(frozen=True)
class Plane:
    """Two axes; positions grow to the right and downwards."""

    x: Axis
    y: Axis

    def point(self, x: float | None, y: float | None) -> tuple[float, float] | None:
        """Return the position of a point; None where either value is missing."""
        across, up = self.x.place(x), self.y.place(y)
        return None if across is None or up is None else (across, up)

    def holds(self, x: float, y: float) -> bool:
        """Return whether a position lies in the plane or on its edge."""
        return self.x.start - 0.05 <= x <= self.x.end + 0.05 and self.y.end - 0.05 <= y <= self.y.start + 0.05

    @property
    def corner(self) -> dict[str, float]:
        """The upper left corner and the size, as attributes."""
        x, y = self.x, self.y
        return {"x": x.start, "y": y.end, "width": x.end - x.start, "height": y.start - y.end}

    def clipped(self, parts: Sequence[Markup]) -> Markup:
        """Return elements without what of them lies outside of the plane."""
        box = {"viewBox": " ".join(coordinate(number) for number in self.corner.values())}
        return element("svg", *parts, **self.corner, class_="c-clip", **box)

    def frame(self, class_: str = "c-frame") -> Markup:
        """Return the box around the plane."""
        return element("rect", class_=class_, **self.corner)


def margin(ticks: Iterable[tuple[float, str]]) -> float:
    """Return the room that labels need at the left of a plane."""
    return max((width(label) for _, label in ticks), default=0.0) + 2 * _GAP


def level_ticks(plane: Plane, count: int = 5, *, grid: bool = True) -> Markup:
    """Return the ticks of the upright axis with their labels at the left, by default with lines through the plane."""
    marks = []
    for value, label in plane.y.ticks(count):
        y = plane.y.place(value)
        if y is not None:
            end = plane.x.end if grid else plane.x.start - 4
            marks.append(element("path", class_="c-grid" if grid else "c-axis", d=path([(plane.x.start, y), (end, y)])))
            marks.append(text(label, plane.x.start - _GAP, y + 0.35 * TEXT, "end"))
    return group(marks, "c-ticks")


def upright_ticks(plane: Plane, count: int = 6, *, grid: bool = False, above: bool = False) -> Markup:
    """Return the ticks of the level axis, or lines through the plane, with labels below, and above if asked."""
    marks, taken = [], Places()
    foot, top = plane.y.start, plane.y.end
    for value, label in plane.x.ticks(count):
        x = plane.x.place(value)
        if x is None:
            continue
        line = [(x, foot), (x, top if grid else foot + 4)]
        marks.append(element("path", class_="c-grid" if grid else "c-axis", d=path(line)))
        wide = width(label)
        middle = min(max(x, wide / 2), plane.x.end + EDGE - wide / 2)
        if taken.take(middle - wide / 2 - 3, 0, wide + 6, 1):
            marks.append(text(label, middle, foot + FOOT - 5, "middle"))
            if above:
                marks.append(text(label, middle, top - _GAP, "middle"))
    return group(marks, "c-ticks")


def guide_lines(plane: Plane, guides: Sequence[Guide]) -> tuple[Markup, Markup]:
    """Return the lines of the guides that cross the plane, to lie below the data, and their labels, to lie above it."""
    lines, names, taken = [], [], Places()
    for guide in guides:
        ends = _ends(plane, guide)
        if ends is None:
            continue
        lines.append(element("path", class_="c-guide", d=path(ends)))
        for x, y, anchor in _label_places(plane, guide, ends):
            wide = width(guide.label)
            left = x - wide if anchor == "end" else x
            inside = plane.x.start <= left and left + wide <= plane.x.end + EDGE and y - TEXT >= plane.y.end - 4
            if guide.label and inside and y <= plane.y.start and taken.take(left, y - TEXT, wide, TEXT * 1.2):
                names.append(text(guide.label, x, y, anchor, "c-guide-name"))
                break
    return group(lines, "c-guides"), group(names, "c-guides")


def _ends(plane: Plane, guide: Guide) -> list[tuple[float, float]] | None:
    if guide.axis == "diagonal":
        return [(plane.x.start, plane.y.start), (plane.x.end, plane.y.end)]
    axis = plane.x if guide.axis == "x" else plane.y
    place = axis.place(guide.value) if axis.contains(guide.value) else None
    if place is None:
        return None
    upright = [(place, plane.y.start), (place, plane.y.end)]
    return upright if guide.axis == "x" else [(plane.x.start, place), (plane.x.end, place)]


def _label_places(plane: Plane, guide: Guide, ends: list[tuple[float, float]]) -> list[tuple[float, float, str]]:
    """Return where the label of a guide may stand, the best place first: (x, baseline, anchor)."""
    (x0, y0), (x1, y1) = ends[0], ends[-1]
    if guide.axis == "y":
        above, below = y0 - 4, y0 + TEXT
        return [(x1 - 2, above, "end"), (x1 - 2, below, "end"), (x0 + 4, above, "start"), (x0 + 4, below, "start")]
    if guide.axis == "x":
        rows = [plane.y.end + TEXT * (1 + 1.2 * row) for row in range(4)]
        return [(x0 + 5, row, "start") for row in rows] + [(x0 - 5, row, "end") for row in rows]
    back = min(0.04 * abs(x1 - x0), 12)
    return [(x1 - back - TEXT, y1 + back + 0.3 * TEXT, "end"), (x0 + 2.5 * TEXT, y0 - 0.6 * TEXT, "start")]
