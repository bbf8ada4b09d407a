"""Scales of colours: one for amounts, one for what lies around zero.

Amounts use viridis (Smith and van der Walt, 2015; CC0), whose lightness grows evenly and which those who see fewer
colours read as well. What lies around zero uses RdBu of ColorBrewer (Brewer, Harrower and The Pennsylvania State
University; Apache 2.0) with blue below. Both run linearly between a few of the published colours.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from refconv.report.charts.axes import Axis, fit

AMOUNTS = (
    "440154 48186a 472d7b 424086 3b528b 33638d 2c728e 26828e 21918c "
    "1fa088 28ae80 3fbc73 5ec962 84d44b addc30 d8e219 fde725"
)
AROUND_ZERO = "053061 2166ac 4393c3 92c5de d1e5f0 f7f7f7 fddbc7 f4a582 d6604d b2182b 67001f"

SHADES = 254
"""Colours of a scale; a picture has two more."""
HATCH, CLEAR = 254, 255
"""Indices of the grey that marks missing values, and of what is not painted."""

_GREY = (128, 128, 128)

Values = npt.NDArray[np.float64]


def numbers(values: Iterable[Iterable[float | None]]) -> Values:
    """Return rows of numbers as an array, NaN for what is missing.

    Raises:
        ValueError: if the rows differ in length.
    """
    rows = [[np.nan if value is None else float(value) for value in row] for row in values]
    if len({len(row) for row in rows}) > 1:
        raise ValueError(f"expected rows of one length, found {sorted({len(row) for row in rows})}")
    array = np.array(rows, dtype=np.float64).reshape(len(rows), len(rows[0]) if rows else 0)
    array[~np.isfinite(array)] = np.nan
    return array


@dataclass(frozen=True)
class Scale:
    """Values from low to high as shades 0 to 253.

    Attributes:
        low: the value of the first shade; smaller ones have it as well.
        high: the value of the last.
        diverging: whether colours go both ways from the middle.
        log: whether equal factors are equal distances.
    """

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
        """Return the scale that holds all values; None if there are none.

        Args:
            arrays: missing values are NaN; with `log` those that are not positive count as missing as well.
            low: the lower end, if it is not that of the values.
            high: the upper end, likewise.
            diverging: make the ends lie equally far from zero.
            log: a logarithmic scale.

        Raises:
            ValueError: if the scale should be both diverging and logarithmic.
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
        """Return the shade of each value, `HATCH` for those missing.

        Example:
            >>> Scale(0, 1).shades(np.array([0.0, 0.5, 1.0, 2.0, np.nan])).tolist()
            [0, 126, 253, 253, 254]
        """
        there = np.isfinite(values) & ((values > 0) | (not self.log))
        known = np.where(there, values, self.high)
        low, high = self.low, self.high
        if self.log:
            known, low, high = np.log(known), float(np.log(low)), float(np.log(high))
        share = np.clip((known - low) / (high - low), 0, 1) if high > low else np.full_like(known, 0.5)
        return np.where(there, np.rint(share * (SHADES - 1)), HATCH).astype(np.uint8)

    def palette(self) -> npt.NDArray[np.uint8]:
        """Return the colours of all indices [256, 3], the grey of missing values among them."""
        anchors = _colours(AROUND_ZERO if self.diverging else AMOUNTS)
        at = np.linspace(0, len(anchors) - 1, SHADES)
        channels = [np.interp(at, np.arange(len(anchors)), anchors[:, channel]) for channel in range(3)]
        return np.vstack([np.rint(np.stack(channels, axis=1)), [_GREY, _GREY]]).astype(np.uint8)

    def axis(self, start: float, end: float) -> Axis:
        """Return the scale as an axis, for its ticks."""
        return Axis(self.low, self.high, start, end, self.log)


def _colours(text: str) -> Values:
    return np.array([[int(colour[i : i + 2], 16) for i in (0, 2, 4)] for colour in text.split()], dtype=np.float64)
