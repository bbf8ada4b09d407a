"""Images, with a map over them where there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from PIL import Image

from refconv.report.charts.frames import block, empty, panels
from refconv.report.charts.pictures import colour_bar, data_uri
from refconv.report.charts.scales import Scale, numbers
from refconv.report.charts.svg import element

_SMALL = 64
"""Images of at most so many pixels a side are shown pixel by pixel."""
_COVERED = 112
"""Least side of a small image under a map, in pixels: finer than its own, so that the map is smooth."""
_LARGEST = 160
"""Longest side of any other image."""
_STRONGEST = 0.65
"""How opaque a map is where it is 1."""


@dataclass(frozen=True)
class Photo:
    """One image.

    Attributes:
        title: what stands above it.
        pixels: uint8 [height, width, channels], row by row.
        shape: (height, width, channels), channels 1 or 3.
        overlay: a map from 0 to 1 that covers the image, of any size.

    Raises:
        ValueError: if there are not as many pixels as the shape says, or neither 1 nor 3 channels.
    """

    title: str
    pixels: bytes
    shape: tuple[int, int, int]
    overlay: Sequence[Sequence[float]] | None = None

    def __post_init__(self) -> None:
        height, width, channels = self.shape
        if channels not in {1, 3}:
            raise ValueError(f"photo {self.title!r}: expected 1 or 3 channels, found {channels}")
        if len(self.pixels) != height * width * channels:
            raise ValueError(
                f"photo {self.title!r}: expected {height * width * channels} bytes, found {len(self.pixels)}"
            )


def photo_row(photos: Sequence[Photo]) -> Markup:
    """Return images side by side, small ones enlarged pixel by pixel, with a legend if maps lie over them."""
    if not photos:
        return empty("photos")
    drawn = [_photo(photo) for photo in photos]
    mapped = any(photo.overlay is not None for photo in photos)
    legend = colour_bar(Scale(0, 1), "map over the image, 1 where it is strongest") if mapped else Markup("")
    return block("photos", panels(drawn, [photo.title for photo in photos]), legend)


def _photo(photo: Photo) -> Markup:
    height, width, channels = photo.shape
    if not photo.pixels:
        return element("p", "no values", class_="c-empty")
    mode = "L" if channels == 1 else "RGB"
    image = Image.frombytes(mode, (width, height), photo.pixels)
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
