"""Pictures side by side, in the colours of one scale: matrices, the kernels of a layer, and images under a map.

Amounts use viridis (Smith and van der Walt, 2015; CC0), whose lightness grows evenly and which those who see fewer
colours read as well. What lies around zero uses RdBu of ColorBrewer (Brewer, Harrower and The Pennsylvania State
University; Apache 2.0) with blue below. Both run linearly between a few of the published colours.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from refconv.measures.numbers import MISSING, number
from refconv.report.charts.axes import Axis, fit
from refconv.report.charts.labels import Places, text, width
from refconv.report.charts.svg import NOTHING, above, below, block, box, drawing, element, group, note, panels, path

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
_SIDE = 240.0
_NARROWEST = 0.25  # matrices that are flatter, or steeper by the inverse, are stretched to that
_SPEAKING_CELLS, _SPEAKING_KERNELS = 256, 64  # at most so many say their values under the pointer
_TAP, _GAP = 4, 2  # sides in pixels of a tap, and of what lies between two kernels
_SMALL = 64  # images of at most so many pixels a side are shown pixel by pixel
_COVERED = 112  # least side of a small image under a map, in pixels: finer than its own, so that the map is smooth
_LARGEST = 160  # longest side of any other image
_STRONGEST = 0.65  # how opaque a map is where it is 1

Values = npt.NDArray[np.float64]


def numbers(values: Iterable[Iterable[float | None]]) -> Values:
    """Return rows of numbers, which are of one length, as an array, NaN for what is missing."""
    rows = [list(row) for row in values]
    array = np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]) if rows else 0)
    array[~np.isfinite(array)] = np.nan
    return array


@dataclass(frozen=True)
class Scale:
    """Values from low to high as shades 0 to 253; values beyond an end have its shade."""

    low: float
    high: float
    diverging: bool = False

    @classmethod
    def of(
        cls, arrays: Iterable[Values], low: float | None = None, high: float | None = None, *, diverging: bool = False
    ) -> Scale | None:
        """Return the scale that holds all values, but for ends that are given; None if there are no values.

        The ends of a diverging scale lie equally far from zero.
        """
        axis = fit([float(one) for array in arrays for one in array.ravel()], 0, 1, room=0)
        if axis is None:
            return None
        low, high = axis.low if low is None else low, axis.high if high is None else high
        if not low < high:  # one end was given and the values lie beyond it
            high = low + 1
        far = max(abs(low), abs(high))
        return cls(-far, far, diverging) if diverging else cls(low, high)

    def shades(self, values: Values) -> npt.NDArray[np.uint8]:
        """Return the shade of each value, `HATCH` for those missing."""
        there = np.isfinite(values)
        known = np.where(there, values, self.high)
        share = np.clip((known - self.low) / (self.high - self.low), 0, 1)
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
    axis = Axis(scale.low, scale.high, 1, BAR - 1)
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


@dataclass(frozen=True)
class Heat:
    """A matrix, its rows from the top; None is missing."""

    title: str
    values: Sequence[Sequence[float | None]]


def heat_maps(
    maps: Sequence[Heat], *, unit: str, x_label: str = "", y_label: str = "",
    diverging: bool = False, low: float | None = None, high: float | None = None,
) -> Markup:  # fmt: skip
    """Return matrices side by side, in the colours of one scale (see :meth:`Scale.of`); missing cells are hatched."""
    arrays = [numbers(one.values) for one in maps]
    scale = Scale.of(arrays, low, high, diverging=diverging)
    if scale is None:
        return block("heat", NOTHING)
    drawn = [_matrix(array, scale, (y_label or "row", x_label or "column")) for array in arrays]
    hatched = any(bool((scale.shades(array) == HATCH).any()) for array in arrays)
    around = [panels(drawn, [one.title for one in maps]), below(x_label)]
    return block("heat", above(y_label, "↓"), *around, colour_bar(scale, unit, hatched=hatched))


def _matrix(values: Values, scale: Scale, words: tuple[str, str]) -> Markup:
    if not values.size:
        return NOTHING
    rows, columns = values.shape
    ratio = float(np.clip(rows / columns, _NARROWEST, 1 / _NARROWEST))
    width, height = (_SIDE, _SIDE * ratio) if ratio <= 1 else (_SIDE / ratio, _SIDE)
    left, wide, high = (_SIDE - width) / 2, width / columns, height / rows
    frame = element("rect", class_="c-frame", x=left, y=0.0, width=width, height=height)
    hits = []
    for (row, column), value in np.ndenumerate(values) if values.size <= _SPEAKING_CELLS else ():
        said = number(float(value)) if np.isfinite(value) else "no value"
        tip = f"{words[0]} {row + 1}, {words[1]} {column + 1}\n{said}"
        hits.append(element("path", d=box(left + column * wide, row * high, wide, high), data_tip=tip))
    image = picture(cells(values, scale), left, 0, width, height)
    return drawing(_SIDE, height, image, frame, group(hits, "c-hits"))


@dataclass(frozen=True)
class Sheet:
    """The kernels [n, height, width] of a layer in one state, and their names."""

    title: str
    kernels: Sequence[Sequence[Sequence[float]]]
    names: Sequence[str]


def kernel_sheets(sheets: Sequence[Sheet]) -> Markup:
    """Return sheets, such as base, refocused and difference, side by side in the colours of one scale around zero."""
    arrays = [np.array(sheet.kernels, dtype=np.float64) for sheet in sheets]
    for array in arrays:
        array[~np.isfinite(array)] = np.nan
    scale = Scale.of([array for array in arrays if array.size], diverging=True)
    if scale is None:
        return block("sheets", NOTHING)
    drawn = [_sheet(sheet, array, scale) for sheet, array in zip(sheets, arrays, strict=True)]
    return block("sheets", panels(drawn, [sheet.title for sheet in sheets]), colour_bar(scale, "value of a tap"))


def _sheet(sheet: Sheet, taps: Values, scale: Scale) -> Markup:
    """Draw a sheet that is about square."""
    if not taps.size:
        return NOTHING
    count, high, wide = taps.shape
    step_down, step = high * _TAP + _GAP, wide * _TAP + _GAP
    columns = min(count, max(1, round(math.sqrt(count * step_down / step))))
    rows = math.ceil(count / columns)
    shades = np.full((rows * step_down + _GAP, columns * step + _GAP), CLEAR, dtype=np.uint8)
    hits = []
    for i, (kernel, name) in enumerate(zip(taps, sheet.names, strict=True)):
        top, left = i // columns * step_down + _GAP, i % columns * step + _GAP
        large = scale.shades(kernel).repeat(_TAP, axis=0).repeat(_TAP, axis=1)
        shades[top : top + large.shape[0], left : left + large.shape[1]] = large
        said = "\n".join(" ".join(number(tap) if np.isfinite(tap) else MISSING for tap in row) for row in kernel)
        hits.append(element("path", d=box(left, top, wide * _TAP, high * _TAP), data_tip=f"{name}\n{said}"))
    height, width = shades.shape
    paper = element("rect", class_="c-sheet", x=0.0, y=0.0, width=width, height=height)
    image = picture(indexed(shades, scale), 0, 0, width, height)
    return drawing(width, height, paper, image, group(hits if count <= _SPEAKING_KERNELS else [], "c-hits"))


@dataclass(frozen=True)
class Photo:
    """An image: uint8 [height, width, channels] row by row, 1 or 3 channels; the map over it is of any size."""

    title: str
    pixels: bytes
    shape: tuple[int, int, int]
    overlay: Sequence[Sequence[float]] | None = None


def photo_row(photos: Sequence[Photo]) -> Markup:
    """Return images side by side, small ones enlarged pixel by pixel, with a legend if maps lie over them."""
    if not photos:
        return block("photos", NOTHING)
    mapped = any(photo.overlay is not None for photo in photos)
    legend = colour_bar(Scale(0, 1), "map over the image, 1 where it is strongest") if mapped else Markup("")
    return block("photos", panels([_photo(photo) for photo in photos], [photo.title for photo in photos]), legend)


def _photo(photo: Photo) -> Markup:
    height, width, channels = photo.shape
    if not photo.pixels:
        return NOTHING
    image = Image.frombytes("L" if channels == 1 else "RGB", (width, height), photo.pixels)
    small = max(height, width) <= _SMALL
    if not small:
        image.thumbnail((_LARGEST, _LARGEST), Image.Resampling.LANCZOS)
    if photo.overlay is not None:
        image = _covered(image, photo.overlay)
    if image.mode == "RGB" and not small:
        image = image.quantize(palette=image.quantize(256))
    class_ = "c-photo c-cells" if small else "c-photo"
    return element("img", class_=class_, src=data_uri(image), width=image.width, height=image.height, alt="")


def _covered(image: Image.Image, overlay: Sequence[Sequence[float]]) -> Image.Image:
    """Return the image in grey under the colours of a map, which cover it the more the stronger the map is."""
    factor = max(1, math.ceil(_COVERED / max(image.size)))
    size = (image.width * factor, image.height * factor)
    ground = np.asarray(image.convert("L").convert("RGB").resize(size, Image.Resampling.NEAREST), dtype=np.float64)
    known = np.clip(np.nan_to_num(numbers(overlay)), 0, 1).astype(np.float32)
    strength = np.asarray(Image.fromarray(known).resize(size, Image.Resampling.BICUBIC), dtype=np.float64).clip(0, 1)
    scale = Scale(0, 1)
    colours = scale.palette()[scale.shades(strength)].astype(np.float64)
    cover = _STRONGEST * strength[..., np.newaxis]
    return Image.fromarray(np.rint((1 - cover) * ground + cover * colours).astype(np.uint8))
