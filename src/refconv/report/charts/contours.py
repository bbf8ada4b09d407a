"""Surfaces as lines of equal height, the more filled the higher."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import contourpy
import numpy as np
from markupsafe import Markup

from refconv.measures.numbers import number
from refconv.report.charts.axes import Axis, labels, linear_ticks, log_label
from refconv.report.charts.labels import TEXT, Places, text, width
from refconv.report.charts.pictures import BAR, Values, numbers, ticked_bar
from refconv.report.charts.plane import EDGE, FOOT, Plane, level_ticks, margin, upright_ticks
from refconv.report.charts.svg import NOTHING, above, below, block, drawing, element, group, note, panels, path

_SIDE = 240.0
_WIDE = 25  # where the highest value is more than so many times the lowest, levels are equal factors apart
_TOP = 0.72  # how opaque the highest area is
_WRITTEN = 6  # at most so many heights are written on their lines


@dataclass(frozen=True)
class Surface:
    """Heights [len(y), len(x)] over a plane, at ascending positions; None is missing."""

    title: str
    x: Sequence[float]
    y: Sequence[float]
    values: Sequence[Sequence[float | None]]


def contour_maps(surfaces: Sequence[Surface], *, unit: str, x_label: str, y_label: str) -> Markup:
    """Return surfaces side by side, cut at the same heights, about ten of them, with a bar that names them.

    Heights are round numbers; they grow by factors where values span several powers of two. A cross marks the origin.
    """
    arrays = [numbers(one.values) for one in surfaces]
    there = [array for array in arrays if np.isfinite(array).any()]
    if not there:
        return block("contours", NOTHING)
    heights = round_levels(min(map(np.nanmin, there)), max(map(np.nanmax, there)), 10)
    drawn = [_surface(one, array, heights) for one, array in zip(surfaces, arrays, strict=True)]
    around = [panels(drawn, [one.title for one in surfaces]), below(x_label)]
    return block("contours", above(y_label), *around, _bar(heights, unit))


def round_levels(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round heights between two, none of them the lowest or the highest itself."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        return []
    if low <= 0 or high / low < _WIDE:
        return [value for value in linear_ticks(float(low), float(high), count) if low < value < high]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1, 1.5, 2, 3, 4, 5, 6, 8), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        values = [value for power in powers for factor in factors if low < (value := float(f"{factor}e{power}")) < high]
        if len(values) <= 1.3 * count:
            return values
    return values


def _surface(surface: Surface, values: Values, heights: Sequence[float]) -> Markup:
    if min(values.shape) < 2 or not np.isfinite(values).any():
        return NOTHING
    y = Axis(float(surface.y[0]), float(surface.y[-1]), _SIDE - FOOT, TEXT * 0.6)
    left = margin(y.ticks(4))
    plane = Plane(Axis(float(surface.x[0]), float(surface.x[-1]), left, _SIDE - EDGE), y)
    columns, rows = ([axis.place(float(v)) for v in at] for axis, at in ((plane.x, surface.x), (y, surface.y)))
    generator = contourpy.contour_generator(columns, rows, np.ma.masked_invalid(values), fill_type="OuterCode")
    opacity = f"{_opacity(1, len(heights)):.3f}"
    outlines = [_outline(generator, height) for height in heights]
    areas = [element("path", class_="c-area", d=outline, fill_opacity=opacity) for outline in outlines if outline]
    there = element("path", class_="c-ground", d=_outline(generator, -np.inf))
    ground = Markup("") if np.isfinite(values).all() else plane.frame("c-missing") + there
    parts = [upright_ticks(plane, 4), level_ticks(plane, 4, grid=False), ground, group(areas, "c-areas"), plane.frame()]
    if plane.x.contains(0) and y.contains(0):
        across, up = plane.x.place(0) or 0.0, y.place(0) or 0.0
        cross = path([(across - 4, up), (across + 4, up)]) + path([(across, up - 4), (across, up + 4)])
        parts.append(element("path", class_="c-origin", d=cross))
    picture = drawing(_SIDE, _SIDE, *parts, _names(plane, generator, heights))
    ends = f"lowest {number(float(np.nanmin(values)))}, highest {number(float(np.nanmax(values)))}"
    return picture + note(ends, "c-under")


def _opacity(times: int, levels: int) -> float:
    """Return how opaque so many areas are on top of each other."""
    return 1 - math.pow(1 - _TOP, times / max(levels, 1))


def _outline(generator: contourpy.ContourGenerator, height: float) -> str:
    """Return the path around all that is higher."""
    data = ""
    for points, codes in zip(*generator.filled(height, np.inf), strict=True):
        starts = [*np.flatnonzero(codes == 1), len(points)]
        data += "".join(path(points[a : b - 1], closed=True) for a, b in pairwise(starts))
    return data


def _names(plane: Plane, generator: contourpy.ContourGenerator, heights: Sequence[float]) -> Markup:
    """Return the heights written on their lines, each on the longest one, where there is room."""
    written, taken = [], Places()
    middle, centre = (plane.x.start + plane.x.end) / 2, (plane.y.start + plane.y.end) / 2
    reach, tall = (plane.x.end - plane.x.start) / 2 - 3, (plane.y.start - plane.y.end) / 2 - 3
    lines = [max(generator.lines(height), key=len, default=()) for height in heights]
    long = [(line, label) for line, label in zip(lines, _labels(heights), strict=True) if len(line) > 5]
    for line, label in long[:: max(1, math.ceil(len(long) / _WRITTEN))]:
        wide, high = width(label), TEXT
        for share in (0.5, 0.3, 0.7, 0.15, 0.85):
            x, y = line[int(share * (len(line) - 1))]
            inside = abs(x - middle) < reach - wide / 2 and abs(y - centre) < tall - high / 2
            if inside and taken.take(x - wide / 2 - 5, y - high / 2 - 4, wide + 10, high + 8):
                written.append(text(label, x, y + 0.33 * TEXT, "middle", "c-height"))
                break
    return group(written, "c-names")


def _labels(heights: Sequence[float]) -> list[str]:
    even = len(heights) < 3 or math.isclose(heights[1] - heights[0], heights[-1] - heights[-2], rel_tol=1e-6)
    return labels(heights) if even else [log_label(height) for height in heights]


def _bar(heights: Sequence[float], unit: str) -> Markup:
    """Return the fillings from lowest to highest, the heights where they change written below."""
    each = (BAR - 2) / (len(heights) + 1)
    fills = []
    for i in range(len(heights) + 1):
        box = {"x": 1 + i * each, "y": 1.0, "width": each, "height": 10.0}
        fills.append(element("rect", class_="c-area", **box, fill_opacity=f"{_opacity(i, len(heights)):.3f}"))
    return ticked_bar(fills, [(1 + i * each, label) for i, label in enumerate(_labels(heights), 1)], unit)
