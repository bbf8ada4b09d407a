"""Pictures made of cells as PNG inside the page, and the bar that says what their colours mean."""

from __future__ import annotations

import base64
import io

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from refconv.report.charts.frames import note
from refconv.report.charts.labels import Places, width
from refconv.report.charts.plane import text
from refconv.report.charts.scales import CLEAR, HATCH, SHADES, Scale, Values
from refconv.report.charts.svg import drawing, element, group, path

_STRIPES = 8
"""Side in pixels of a cell that is hatched."""
_BAR = 300.0


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
    """Return the colours of a scale from low to high with ticks, under the name of their unit.

    Args:
        scale: shared by all pictures above.
        unit: what the numbers are.
        hatched: say what hatched cells are.
    """
    shades = np.arange(SHADES, dtype=np.uint8)[np.newaxis]
    axis = scale.axis(1, _BAR - 1)
    parts, taken = [picture(indexed(shades, scale), 1, 1, _BAR - 2, 10)], Places()
    for value, label in axis.ticks(4):
        x, wide = axis.place(value), width(label)
        if x is not None and taken.take(x - wide / 2 - 4, 0, wide + 8, 1):
            middle = min(max(x, wide / 2), _BAR - wide / 2)
            parts.append(group([element("path", class_="c-axis", d=path([(x, 11), (x, 15)]))], "c-ticks"))
            parts.append(text(label, middle, 28, "middle"))
    return scaled(drawing(_BAR, 32, *parts, class_="c-svg c-scale"), unit, "hatched: no value" if hatched else "")


def scaled(bar: Markup, unit: str, remark: str = "") -> Markup:
    """Return a bar of colours under the name of their unit, with a remark below."""
    return element("div", note(unit, "c-under"), bar, note(remark, "c-under"), class_="c-measure")
