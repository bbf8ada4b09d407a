"""Pictures side by side: matrices, the kernels of a layer, and images with a map over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image

from refconv.measures.numbers import MISSING, number
from refconv.report.charts.scales import (
    CLEAR,
    HATCH,
    Scale,
    Values,
    cells,
    colour_bar,
    data_uri,
    indexed,
    numbers,
    picture,
)
from refconv.report.charts.svg import NOTHING, above, below, block, box, drawing, element, group, panels

_SIDE = 240.0
_NARROWEST = 0.25  # matrices that are flatter, or steeper by the inverse, are stretched to that
_SPEAKING_CELLS, _SPEAKING_KERNELS = 256, 64  # at most so many say their values under the pointer
_TAP, _GAP = 4, 2  # sides in pixels of a tap, and of what lies between two kernels
_SMALL = 64  # images of at most so many pixels a side are shown pixel by pixel
_COVERED = 112  # least side of a small image under a map, in pixels: finer than its own, so that the map is smooth
_LARGEST = 160  # longest side of any other image
_STRONGEST = 0.65  # how opaque a map is where it is 1


@dataclass(frozen=True)
class Heat:
    """A matrix, its rows from the top; None is missing."""

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
    """Return matrices side by side, in the colours of one scale (see :meth:`Scale.of`); missing cells are hatched."""
    arrays = [numbers(one.values) for one in maps]
    scale = Scale.of(arrays, low, high, diverging=diverging, log=log)
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
    """The kernels [n, height, width] of a layer in one state; names are numbers from 1 unless given."""

    title: str
    kernels: Sequence[Sequence[Sequence[float]]]
    names: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.names and len(self.names) != len(self.kernels):
            raise ValueError(f"sheet {self.title!r}: expected {len(self.kernels)} names, found {len(self.names)}")


def kernel_sheets(sheets: Sequence[Sheet], *, columns: int | None = None) -> Markup:
    """Return sheets, such as base, refocused and difference, side by side in the colours of one scale around zero.

    By default a row has as many kernels as make a sheet about square.
    """
    arrays = [_taps(sheet) for sheet in sheets]
    scale = Scale.of([array for array in arrays if array.size], diverging=True)
    if scale is None:
        return block("sheets", NOTHING)
    drawn = [_sheet(sheet, array, scale, columns) for sheet, array in zip(sheets, arrays, strict=True)]
    return block("sheets", panels(drawn, [sheet.title for sheet in sheets]), colour_bar(scale, "value of a tap"))


def _taps(sheet: Sheet) -> Values:
    try:
        taps = np.array(sheet.kernels, dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"sheet {sheet.title!r}: expected kernels of one size") from error
    taps[~np.isfinite(taps)] = np.nan
    return taps


def _sheet(sheet: Sheet, taps: Values, scale: Scale, columns: int | None) -> Markup:
    if not taps.size:
        return NOTHING
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
        said = "\n".join(" ".join(number(tap) if np.isfinite(tap) else MISSING for tap in row) for row in kernel)
        name = sheet.names[i] if sheet.names else f"kernel {i + 1}"
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

    def __post_init__(self) -> None:
        if self.shape[2] not in {1, 3}:
            raise ValueError(f"photo {self.title!r}: expected 1 or 3 channels, found {self.shape[2]}")
        if len(self.pixels) != math.prod(self.shape):
            raise ValueError(f"photo {self.title!r}: expected {math.prod(self.shape)} bytes, found {len(self.pixels)}")


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
