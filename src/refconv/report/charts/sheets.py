"""The kernels of a layer as small pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from refconv.measures.numbers import MISSING, number
from refconv.report.charts.frames import block, empty, panels
from refconv.report.charts.pictures import colour_bar, indexed, picture
from refconv.report.charts.scales import CLEAR, Scale
from refconv.report.charts.svg import box, drawing, element, group

_TAP, _GAP = 4, 2
"""Sides in pixels of a tap, and of what lies between two kernels."""
_SPEAKING = 64
"""Sheets of at most so many kernels say their taps under the pointer."""


@dataclass(frozen=True)
class Sheet:
    """Kernels of one layer in one state.

    Attributes:
        title: the state, such as ``base``.
        kernels: taps [n, height, width]; those of one dimension are one row.
        names: what the kernels are called, in their order; numbers from 1 unless given.

    Raises:
        ValueError: if there are names, but not as many as kernels.
    """

    title: str
    kernels: Sequence[Sequence[Sequence[float]]]
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.names and len(self.names) != len(self.kernels):
            raise ValueError(f"sheet {self.title!r}: expected {len(self.kernels)} names, found {len(self.names)}")


def kernel_sheets(sheets: Sequence[Sheet], *, columns: int | None = None) -> Markup:
    """Return sheets side by side, in the colours of one scale around zero.

    Args:
        sheets: such as base, refocused and difference; kernels stand in the same place on each.
        columns: kernels in a row; by default as many as make a sheet about square.

    Raises:
        ValueError: if the kernels of a sheet differ in size.
    """
    arrays = [_taps(sheet) for sheet in sheets]
    scale = Scale.of([array for array in arrays if array.size], diverging=True)
    if scale is None:
        return empty("sheets")
    drawn = [_sheet(sheet, array, scale, columns) for sheet, array in zip(sheets, arrays, strict=True)]
    return block("sheets", panels(drawn, [sheet.title for sheet in sheets]), colour_bar(scale, "value of a tap"))


def _taps(sheet: Sheet) -> npt.NDArray[np.float64]:
    try:
        taps = np.array(sheet.kernels, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"sheet {sheet.title!r}: expected kernels of one size") from error
    taps[~np.isfinite(taps)] = np.nan
    return taps


def _sheet(sheet: Sheet, taps: npt.NDArray[np.float64], scale: Scale, columns: int | None) -> Markup:
    if not taps.size:
        return element("p", "no values", class_="c-empty")
    count, high, wide = taps.shape
    step_down, step = high * _TAP + _GAP, wide * _TAP + _GAP
    columns = min(count, columns or max(1, round(math.sqrt(count * step_down / step))))
    rows = math.ceil(count / columns)
    shades = np.full((rows * step_down + _GAP, columns * step + _GAP), CLEAR, dtype=np.uint8)
    hits = []
    for i, kernel in enumerate(taps):
        top, left = i // columns * step_down + _GAP, i % columns * step + _GAP
        large = scale.shades(kernel).repeat(_TAP, axis=0).repeat(_TAP, axis=1)
        shades[top : top + large.shape[0], left : left + large.shape[1]] = large
        name = sheet.names[i] if sheet.names else f"kernel {i + 1}"
        around = box(left, top, wide * _TAP, high * _TAP)
        hits.append(element("path", d=around, data_tip=f"{name}\n{_said(kernel)}"))
    height, width = shades.shape
    paper = element("rect", class_="c-sheet", x=0.0, y=0.0, width=width, height=height)
    image = picture(indexed(shades, scale), 0, 0, width, height)
    return drawing(width, height, paper, image, group(hits if count <= _SPEAKING else [], "c-hits"))


def _said(kernel: npt.NDArray[np.float64]) -> str:
    """Return the taps of a kernel in rows, three digits each."""
    return "\n".join(" ".join(number(tap) if np.isfinite(tap) else MISSING for tap in row) for row in kernel)
