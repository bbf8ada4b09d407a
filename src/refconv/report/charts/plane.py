"""The plane of a chart: grid, ticks, guides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Guide:
    """A line to compare with.

    Attributes:
        axis: ``x`` for an upright line at a value of x, ``y`` for a level one, ``diagonal`` for y = x + value.
        value: where it is.
        label: what it says; may be empty.
    """

    axis: Literal["x", "y", "diagonal"]
    value: float = 0
    label: str = ""
