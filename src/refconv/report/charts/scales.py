"""Scales of colours, one for amounts and one for what lies around zero; pictures of cells and bars in their colours.

Amounts use viridis (Smith and van der Walt, 2015; CC0), whose lightness grows evenly and which those who see fewer
colours read as well. What lies around zero uses RdBu of ColorBrewer (Brewer, Harrower and The Pennsylvania State
University; Apache 2.0) with blue below. Both run linearly between a few of the published colours.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from refconv.report.charts.axes import Axis, fit
from refconv.report.charts.labels import Places, text, width
from refconv.report.charts.svg import drawing, element, note, path

AMOUNTS = (
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c "
    "1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725"
)
AROUND_ZERO = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f"
SHADES = 254  # colours of a scale; a picture has two more:
HATCH, CLEAR = 254, 255  # the grey that marks missing values, and what is not painted
BAR = 300.0  # length of a bar of colours
_GREY = (128, 128, 128)
_STRIPES = 8  # side in pixels of a cell that is hatched
Values = npt.NDArray[np.float64]


def numbers(values: Iterable[Iterable[float | None]]) -> Values:
    """Return rows of numbers, which are of one length, as an array, NaN for what is missing."""
    rows = [[np.nan if value is None else float(value) for value in row] for row in values]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"expected rows of one length, found {sorted({len(row) for row in rows})}")
    array = np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]) if rows else 0)
    array[~np.isfinite(array)] = np.nan
    return array


@dataclass(frozen=True)
class Scale:
    """Values from low to high as shades 0 to 253; values beyond an end have its shade."""

    low: float
    high: float
    diverging: bool = False
    log: bool = False

    @classmethod
    def of(
        cls,
        arrays: Iterable[Values],
        low: float | None = None,
        high: float | None = None,
        *,
        diverging: bool = False,
        log: bool = False,
    ) -> Scale | None:
        """Return the scale that holds all values, but for ends that are given; None if there are no values.

        The ends of a diverging scale lie equally far from zero; with `log`, values that are not positive are missing.
        """
        if diverging and log:
            raise ValueError("expected a diverging or a logarithmic scale, found both")
        axis = fit([float(one) for array in arrays for one in array.ravel()], 0, 1, log=log, room=0)
        if axis is None:
            return None
        ends = (axis.low if low is None else low, axis.high if high is None else high)
        if not ends[0] < ends[1]:  # one end was given and the values lie beyond it
            ends = (ends[0], 2 * ends[0] if log else ends[0] + 1)
        if diverging:
            far = max(abs(end) for end in ends)
            ends = (-far, far)
        return cls(*ends, diverging, log)

    def shades(self, values: Values) -> npt.NDArray[np.uint8]:
        """Return the shade of each value, `HATCH` for those missing."""
        there = np.isfinite(values) & ((values > 0) | (not self.log))
        known = np.where(there, values, self.high)
        low, high = self.low, self.high
        if self.log:
            known, low, high = np.log(known), float(np.log(low)), float(np.log(high))
        share = np.clip((known - low) / (high - low), 0, 1) if high > low else np.full_like(known, 0.5)
        return np.where(there, np.rint(share * (SHADES - 1)), HATCH).astype(np.uint8)

    def palette(self) -> npt.NDArray[np.uint8]:
        """Return the colours of all indices [256, 3], the grey of missing values among them."""
        published = (AROUND_ZERO if self.diverging else AMOUNTS).split()
        anchors = np.array([[int(colour[i : i + 2], 16) for i in (0, 2, 4)] for colour in published], dtype=np.float64)
        at = np.linspace(0, len(anchors) - 1, SHADES)
        channels = [np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
        return np.vstack([np.rint(np.stack(channels, axis=1)), [_GREY, _GREY]]).astype(np.uint8)


def data_uri(image: Image.Image) -> str:
    """Return an image as PNG in a ``data:`` URI."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def indexed(shades: npt.NDArray[np.uint8], scale: Scale) -> str:
    """Return shades [height, width] as a PNG with the palette of their scale, clear where nothing is painted."""
    image = Image.fromarray(shades)
    image.putpalette(scale.palette().tobytes())
    image.info["transparency"] = CLEAR
    return data_uri(image)


def cells(values: Values, scale: Scale) -> str:
    """Return a matrix as PNG, a pixel per value; if some are missing, cells are larger and theirs are hatched."""
    shades = scale.shades(values)
    if not (shades == HATCH).any():
        return indexed(shades, scale)
    large = shades.repeat(_STRIPES, axis=0).repeat(_STRIPES, axis=1)
    down, across = np.indices(large.shape)
    between = (down + across) % (_STRIPES // 2) != 0
    return indexed(np.where((large == HATCH) & between, CLEAR, large).astype(np.uint8), scale)


def picture(uri: str, x: float, y: float, wide: float, high: float) -> Markup:
    """Return an image in a drawing, its cells kept sharp and stretched to fill the box."""
    box = {"preserveAspectRatio": "none"}
    return element("image", class_="c-cells", x=x, y=y, width=wide, height=high, href=uri, **box)


def colour_bar(scale: Scale, unit: str, *, hatched: bool = False) -> Markup:
    """Return the colours of a scale with ticks, under the name of their unit; if asked, with what hatched cells are."""
    shades = np.arange(SHADES, dtype=np.uint8)[np.newaxis]
    axis = Axis(scale.low, scale.high, 1, BAR - 1, scale.log)
    ticks = [(axis.bounded(value), label) for value, label in axis.ticks(4)]
    return ticked_bar([picture(indexed(shades, scale), 1, 1, BAR - 2, 10)], ticks, unit, hatched * "hatched: no value")


def ticked_bar(fills: Iterable[Markup], ticks: Iterable[tuple[float, str]], unit: str, remark: str = "") -> Markup:
    """Return a bar of fills with ticks at places along it, under the name of its unit, with a remark below."""
    parts, taken = [*fills], Places()
    for x, label in ticks:
        wide = width(label)
        if taken.take(x - wide / 2 - 4, 0, wide + 8, 1):
            parts.append(element("path", class_="c-axis", d=path([(x, 11), (x, 15)])))
            parts.append(text(label, min(max(x, wide / 2), BAR - wide / 2), 28, "middle"))
    bar = drawing(BAR, 32, *parts, class_="c-svg c-scale")
    return element("div", note(unit, "c-under"), bar, note(remark, "c-under"), class_="c-measure")
