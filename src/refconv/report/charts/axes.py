"""Axes: ranges that fit the data, ticks at round numbers, and positions between them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from refconv.measures.numbers import MINUS

Range = tuple[float, float]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def finite(values: Iterable[float | None]) -> list[float]:
    """Return the values that are there: neither None nor infinite nor undefined."""
    return [float(value) for value in values if value is not None and math.isfinite(value)]


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` laid out between two positions, of which `end` may be the smaller one."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError(f"expected a range of {'positive ' * self.log}values, found {self.low} to {self.high}")

    def place(self, value: float | None) -> float | None:
        """Return where a value lies; None where it is missing or has no logarithm."""
        if value is None or not math.isfinite(value) or (self.log and value <= 0):
            return None
        low, high, at = (math.log10(v) if self.log else v for v in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((at - low) / (high - low))

    def bounded(self, value: float) -> float:
        """Return where a value lies, the nearer end if that is outside of the range."""
        return self.place(min(max(value, self.low), self.high)) or 0.0

    def contains(self, value: float) -> bool:
        """Return whether a value lies within the range, give or take rounding."""
        place = self.place(value)
        slack = 1e-6 * abs(self.end - self.start)
        return place is not None and min(self.start, self.end) - slack <= place <= max(self.start, self.end) + slack

    def ticks(self, count: int = 5) -> list[tuple[float, str]]:
        """Return about `count` round values in the range, with their labels."""
        if self.log:
            return [(value, log_label(value)) for value in log_ticks(self.low, self.high, count)]
        values = linear_ticks(self.low, self.high, count)
        return list(zip(values, labels(values), strict=True))


def fit(
    values: Iterable[float | None], start: float, end: float, *, log: bool = False, room: float = 0.04
) -> Axis | None:
    """Return an axis on which all the values have room; None if none of them can be drawn.

    `room` is the share of the range that is added on either side. With `log` values that are not positive are left out.
    """
    there = [value for value in finite(values) if value > 0 or not log]
    if not there:
        return None
    low, high = min(there), max(there)
    if log:
        factor = (high / low) ** room if high / low > 1 + 1e-9 else 2.0
        return Axis(low / factor, high * factor, start, end, log)
    spread = high - low
    edge = spread * room if spread > 1e-9 * max(abs(low), abs(high)) else 0.1 * abs(high) or 1.0
    return Axis(low - edge, high + edge, start, end)


def linear_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten within a range, about `count` of them."""
    step = round_step((high - low) / count, 0.75)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{i * step:.12g}") for i in range(first, last + 1)]


def round_step(raw: float, least: float = 1.0) -> float:
    """Return the smallest of 1, 2, 5 or 10 times a power of ten that is at least a share `least` of a step."""
    power = 10.0 ** math.floor(math.log10(raw))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * least)


def log_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Return round values within a range of factors: powers of ten, with few of them 2 and 5 times those as well."""
    bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
    for factors, least in (((1,), 3), ((1, 3), 4), ((1, 2, 5), 3), ((1, 1.5, 2, 3, 4, 5, 6, 8), 3)):
        values = [float(f"{f}e{power}") for power in range(bottom, top + 1) for f in factors]
        within = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
        if len(within) >= least:
            return within[:: math.ceil(len(within) / (count + 2))]
    return linear_ticks(low, high, count)


def labels(values: Sequence[float]) -> list[str]:
    """Return ticks as text, all with as many decimals as their distance asks for."""
    step = min((b - a for a, b in pairwise(values)), default=abs(values[0]) if values else 0) or 1.0
    largest = max((abs(value) for value in values), default=0)
    short = all(abs(float(f"{value:.2e}") - value) <= 1e-6 * step for value in values)
    if short and not 1e-3 <= largest < 1e6:
        return [_scientific(value) for value in values]
    fitting = (d for d in range(16) if all(abs(round(value, d) - value) <= 1e-6 * step for value in values))
    decimals = next(fitting, 16)
    return ["0" if value == 0 else f"{value:,.{decimals}f}".replace("-", MINUS) for value in values]


def log_label(value: float) -> str:
    """Return a tick of a logarithmic axis."""
    return f"{value:,.6g}" if 1e-3 <= value < 1e5 else _scientific(value)


def _scientific(value: float) -> str:
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.2e}".split("e")
    mantissa = mantissa.rstrip("0").rstrip(".").replace("-", MINUS)
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    return {"1": power, f"{MINUS}1": MINUS + power}.get(mantissa, f"{mantissa}×{power}")
