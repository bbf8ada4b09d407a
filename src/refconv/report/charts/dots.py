"""A row per layer, a dot per model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from refconv.measures.numbers import number
from refconv.report.charts.axes import Axis, finite, fit
from refconv.report.charts.frames import across, block, empty
from refconv.report.charts.labels import TEXT, abbreviate, width
from refconv.report.charts.plane import EDGE, FOOT, WIDTH, Guide, Plane, guide_lines, text, upright_ticks
from refconv.report.charts.roles import Role, legend, marks
from refconv.report.charts.svg import box, drawing, element, group, path, tip

_ABOVE = 12
"""At most so many rows have long names above them; more have shortened ones beside."""
_LETTERS = 27
_PITCH, _TIGHT, _LOOSE = 17.0, 9.0, 34.0
_ALL_NAMED = 60
_TALL = 30


@dataclass(frozen=True)
class Dots:
    """One row of a dot chart.

    Attributes:
        label: the row's name, such as that of a layer.
        values: a value per role; None is missing.
    """

    label: str
    values: Mapping[Role, float | None]


@dataclass(frozen=True)
class _Rows:
    """Where the rows lie: their labels, the left end of the plane, the distance of rows, the top."""

    labels: Sequence[str]
    left: float
    pitch: float
    top: float
    above: bool

    def middle(self, row: int) -> float:
        return self.top + (row + (0.72 if self.above else 0.5)) * self.pitch

    @property
    def foot(self) -> float:
        return self.top + len(self.labels) * self.pitch + 3


def dot_chart(
    rows: Sequence[Dots],
    names: Mapping[Role, str],
    *,
    title: str,
    x_label: str,
    log: bool = False,
    guides: Sequence[Guide] = (),
) -> Markup:
    """Return a row per label with a dot per role, joined by a thin line.

    Long names are cut in the middle; of more than 60 rows not every one is named. The row under the pointer says its
    full name and its values.

    Args:
        rows: from the top.
        names: what the legend calls each role; those that are not in it are not drawn.
        title: stands above.
        x_label: what runs across; stands below.
        log: give equal factors equal room; values that are not positive are left out.
        guides: values to compare with, their axis ``x``.
    """
    values = [row.values.get(role) for row in rows for role in names]
    layout = _layout([row.label for row in rows], guides=len(guides))
    compared = [guide.value for guide in guides if guide.axis == "x"]
    known = [value for value in finite(values) if value > 0 or not log]
    x = fit([*known, *compared], layout.left, WIDTH - EDGE, log=log) if known else None
    if x is None:
        return empty("dots", title)
    plane = Plane(x, Axis(0, 1, layout.foot, layout.top - 3))
    below, above = guide_lines(Plane(x, Axis(0, 1, layout.foot, 2)), [one for one in guides if one.axis == "x"])
    parts = [upright_ticks(plane, 5, grid=True, above=len(rows) > _TALL and not guides), _lines(plane, layout), below]
    parts += [_names(layout), _spans(plane, layout, rows, list(names))]
    size = 3.4 if layout.pitch > _TIGHT else 2.6
    for role in names:
        places = [plane.x.place(row.values.get(role)) for row in rows]
        points = [(place, layout.middle(i)) for i, place in enumerate(places) if place is not None]
        parts.append(marks(role, points, size))
    picture = drawing(WIDTH, layout.foot + FOOT, *parts, above, _hits(layout, rows, names))
    return block("dots", legend(names.items()), picture, across(x_label), title=title)


def _layout(labels: Sequence[str], *, guides: int) -> _Rows:
    top = 4 + 1.2 * TEXT * (min(guides, 3) or len(labels) > _TALL)
    if len(labels) <= _ABOVE and max(map(len, labels), default=0) > _LETTERS:
        return _Rows(abbreviate(labels, 52), 5.0, _LOOSE, top, above=True)
    short = abbreviate(labels, _LETTERS)
    left = max(map(width, short), default=0.0) + 12
    return _Rows(short, left, _PITCH if len(labels) <= _ALL_NAMED else _TIGHT, top, above=False)


def _names(layout: _Rows) -> Markup:
    if layout.above:
        each = [text(one, 0, layout.middle(i) - 0.8 * TEXT, None, "c-name") for i, one in enumerate(layout.labels)]
        return group(each, "c-names")
    every = math.ceil(1.2 * TEXT / layout.pitch)
    shown = range(0, len(layout.labels), every)
    down = 0.35 * TEXT
    each = [text(layout.labels[i], layout.left - 8, layout.middle(i) + down, "end", "c-name") for i in shown]
    return group(each, "c-names")


def _lines(plane: Plane, layout: _Rows) -> Markup:
    """Return the dotted line of each row."""
    rows = range(len(layout.labels))
    data = "".join(path([(plane.x.start, layout.middle(i)), (plane.x.end, layout.middle(i))]) for i in rows)
    return element("path", class_="c-row", d=data)


def _spans(plane: Plane, layout: _Rows, rows: Sequence[Dots], roles: Sequence[Role]) -> Markup:
    """Return the lines that join the dots of each row."""
    data = ""
    for i, row in enumerate(rows):
        places = [place for role in roles if (place := plane.x.place(row.values.get(role))) is not None]
        if len(places) > 1:
            data += path([(min(places), layout.middle(i)), (max(places), layout.middle(i))])
    return element("path", class_="c-span", d=data) if data else Markup("")


def _hits(layout: _Rows, rows: Sequence[Dots], names: Mapping[Role, str]) -> Markup:
    """Return an invisible box per row that says its name and its values."""
    hits = []
    for i, row in enumerate(rows):
        values = [f"{name} {number(v)}" for role, name in names.items() for v in finite([row.values.get(role)])]
        words = "\n".join([row.label, *values])
        band = box(0, layout.top + i * layout.pitch, WIDTH, layout.pitch)
        hits.append(element("path", tip(words), d=band, data_tip=words))
    return group(hits, "c-hits")
