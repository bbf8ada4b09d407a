"""A row per layer, a dot per model."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from refconv.measures.numbers import number
from refconv.report.charts.axes import Axis, finite, fit
from refconv.report.charts.labels import TEXT, Names, Role, abbreviate, legend, marks, text, width
from refconv.report.charts.plane import EDGE, FOOT, WIDTH, Guide, Plane, guide_lines, upright_ticks
from refconv.report.charts.svg import NOTHING, below, block, box, drawing, element, group, hit, path

_ABOVE = 12  # at most so many rows have long names above them; more have shortened ones beside
_LETTERS = 27
_PITCH, _TIGHT, _LOOSE = 17.0, 9.0, 34.0
_ALL_NAMED, _TALL = 60, 30


@dataclass(frozen=True)
class Dots:
    """One row of a dot chart: a value per role; None is missing."""

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
    rows: Sequence[Dots], names: Names, *, title: str, x_label: str, log: bool = False, guides: Sequence[Guide] = ()
) -> Markup:
    """Return a row per label with a dot per role, joined by a thin line; roles without a name are left out.

    Long names are cut in the middle; of more than 60 rows not every one is named. The row under the pointer says its
    full name and its values. With `log`, values that are not positive are left out. The axis of guides is ``x``.
    """
    values = [row.values.get(role) for row in rows for role in names]
    layout = _layout([row.label for row in rows], guides=len(guides))
    known = [value for value in finite(values) if value > 0 or not log]
    x = fit([*known, *(guide.value for guide in guides)], layout.left, WIDTH - EDGE, log=log) if known else None
    if x is None:
        return block("dots", NOTHING, title=title)
    plane = Plane(x, Axis(0, 1, layout.foot, layout.top - 3))
    lines, labelled = guide_lines(Plane(x, Axis(0, 1, layout.foot, 2)), guides)
    dotted = "".join(path([(x.start, y), (x.end, y)]) for y in map(layout.middle, range(len(rows))))
    parts = [upright_ticks(plane, 5, grid=True, above=len(rows) > _TALL and not guides)]
    x_name, down, anchor = (0.0, -0.8 * TEXT, None) if layout.above else (layout.left - 8, 0.35 * TEXT, "end")
    named = range(0, len(rows), 1 if layout.above else math.ceil(1.2 * TEXT / layout.pitch))
    labels = [text(layout.labels[i], x_name, layout.middle(i) + down, anchor, "c-name") for i in named]
    spans, hits = _spans(x, layout, rows, names)
    parts += [element("path", class_="c-row", d=dotted), lines, group(labels, "c-names"), spans]
    for role in names:
        places = [x.place(row.values.get(role)) for row in rows]
        points = [(place, layout.middle(i)) for i, place in enumerate(places) if place is not None]
        parts.append(marks(role, points, 3.4 if layout.pitch > _TIGHT else 2.6))
    picture = drawing(WIDTH, layout.foot + FOOT, *parts, labelled, hits)
    return block("dots", legend(names.items()), picture, below(x_label), title=title)


def _layout(labels: Sequence[str], *, guides: int) -> _Rows:
    top = 4 + 1.2 * TEXT * (min(guides, 3) or len(labels) > _TALL)
    if len(labels) <= _ABOVE and max(map(len, labels), default=0) > _LETTERS:
        return _Rows(abbreviate(labels, 52), 5.0, _LOOSE, top, above=True)
    short = abbreviate(labels, _LETTERS)
    left = max(map(width, short), default=0.0) + 12
    return _Rows(short, left, _PITCH if len(labels) <= _ALL_NAMED else _TIGHT, top, above=False)


def _spans(x: Axis, layout: _Rows, rows: Sequence[Dots], names: Names) -> tuple[Markup, Markup]:
    """Return the lines that join the dots of each row, and an invisible box per row that says its name and values."""
    data, hits = "", []
    for i, row in enumerate(rows):
        known = [(name, value) for role, name in names.items() for value in finite([row.values.get(role)])]
        places = [place for _, value in known if (place := x.place(value)) is not None]
        if len(places) > 1:
            data += path([(min(places), layout.middle(i)), (max(places), layout.middle(i))])
        words = "\n".join([row.label, *(f"{name} {number(value)}" for name, value in known)])
        hits.append(hit(box(0, layout.top + i * layout.pitch, WIDTH, layout.pitch), words))
    return element("path", class_="c-span", d=data) if data else Markup(""), group(hits, "c-hits")
