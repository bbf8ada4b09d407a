"""Matrices as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from refconv.measures.numbers import number
from refconv.report.charts.frames import across, block, downwards, empty, panels
from refconv.report.charts.pictures import cells, colour_bar, picture
from refconv.report.charts.scales import HATCH, Scale, Values, numbers
from refconv.report.charts.svg import box, drawing, element, group

_SIDE = 240.0
_NARROWEST = 0.25
"""Pictures that are flatter, or steeper by the inverse, are stretched to that."""
_SPEAKING = 256
"""Matrices of at most so many cells say their values under the pointer."""


@dataclass(frozen=True)
class Heat:
    """One matrix.

    Attributes:
        title: what stands above it.
        values: rows from the top; None is missing.
    """

    title: str
    values: Sequence[Sequence[float | None]]


def heat_maps(
    maps: Sequence[Heat],
    *,
    unit: str,
    x_label: str = "",
    y_label: str = "",
    diverging: bool = False,
    low: float | None = None,
    high: float | None = None,
    log: bool = False,
) -> Markup:
    """Return matrices side by side, in the colours of one scale; missing cells are hatched.

    Args:
        maps: rows of one matrix have the same length; matrices may differ in size.
        unit: what the numbers are, at the bar of colours.
        x_label: what columns are; stands below.
        y_label: what rows are; stands above.
        diverging: colours to either side of zero.
        low: the lower end of the scale; by default the least value of all maps.
        high: its upper end.
        log: a logarithmic scale; values that are not positive count as missing.

    Raises:
        ValueError: if the rows of a matrix differ in length, or the scale should be diverging and logarithmic.
    """
    arrays = [numbers(one.values) for one in maps]
    scale = Scale.of(arrays, low, high, diverging=diverging, log=log)
    if scale is None:
        return empty("heat")
    words = (y_label or "row", x_label or "column")
    drawn = [_matrix(array, scale, words) for array in arrays]
    hatched = any(bool((scale.shades(array) == HATCH).any()) for array in arrays)
    around = [panels(drawn, [one.title for one in maps]), across(x_label)]
    return block("heat", downwards(y_label), *around, colour_bar(scale, unit, hatched=hatched))


def _matrix(values: Values, scale: Scale, words: tuple[str, str]) -> Markup:
    if not values.size:
        return element("p", "no values", class_="c-empty")
    rows, columns = values.shape
    ratio = float(np.clip(rows / columns, _NARROWEST, 1 / _NARROWEST))
    wide, high = (_SIDE, _SIDE * ratio) if ratio <= 1 else (_SIDE / ratio, _SIDE)
    left = (_SIDE - wide) / 2
    frame = element("rect", class_="c-frame", x=left, y=0.0, width=wide, height=high)
    parts = [picture(cells(values, scale), left, 0, wide, high), frame]
    if values.size <= _SPEAKING:
        parts.append(_hits(values, (left, wide / columns, high / rows), words))
    return drawing(_SIDE, high, *parts)


def _hits(values: Values, place: tuple[float, float, float], words: tuple[str, str]) -> Markup:
    """Return an invisible box per cell that says its value."""
    left, wide, high = place
    hits = []
    for (row, column), value in np.ndenumerate(values):
        said = number(float(value)) if np.isfinite(value) else "no value"
        tip = f"{words[0]} {row + 1}, {words[1]} {column + 1}\n{said}"
        hits.append(element("path", d=box(left + column * wide, row * high, wide, high), data_tip=tip))
    return group(hits, "c-hits")
