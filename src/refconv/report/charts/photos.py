"""Images, with a map over them where there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from refconv.report.charts.frames import block, empty, panels


@dataclass(frozen=True)
class Photo:
    """One image.

    Attributes:
        title: what stands above it.
        pixels: uint8 [height, width, channels], row by row.
        shape: (height, width, channels), channels 1 or 3.
        overlay: a map from 0 to 1 that covers the image, of any size.
    """

    title: str
    pixels: bytes
    shape: tuple[int, int, int]
    overlay: Sequence[Sequence[float]] | None = None


def photo_row(photos: Sequence[Photo]) -> Markup:
    """Return images side by side."""
    if not photos:
        return empty("photos")
    return block("photos", panels([Markup("")] * len(photos), [one.title for one in photos]))
