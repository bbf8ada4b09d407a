"""Differences between models with their intervals, one below the other around zero.

Drawn with boxes instead of SVG, so that its text keeps its size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from markupsafe import Markup

from refconv.measures.numbers import MISSING
from refconv.report.charts.roles import marker, role_class
from refconv.report.charts.svg import element
from refconv.report.elements import Figure, Table
from refconv.report.results import Result, p_value
from refconv.sentences import capital


def intervals_figure(found: Sequence[Result], between: Sequence[Result]) -> Figure | None:
    """Return the picture of all differences that have an interval, with a table of all results.

    Args:
        found: of each pair, in their order.
        between: of the second models of two pairs each.

    Returns:
        None if no difference has an interval.
    """
    rows: list[tuple[Result, int | None]] = [*((one, place) for place, one in enumerate(found))]
    rows += [(one, None) for one in between]
    drawn = [(one, role) for one, role in rows if one.paired is not None]
    if not drawn:
        return None
    measure = found[0].measure
    said = "; ".join(f"{result.name} {_difference(result)}, 95 % interval {result.interval}" for result, _ in drawn)
    return Figure(
        drawing=_drawing(drawn),
        alt=f"Differences in {measure.title} with 95 % intervals around a line at zero. {said}.",
        caption=f"Difference in {measure.title},{measure.difference}, with 95 % intervals: each pair against its start"
        f"{', then the ends of two pairs against one another' if between else ''}. To the right of zero is better.",
        table=_table([result for result, _ in rows]),
    )


def _table(found: Sequence[Result]) -> Table:
    measure = found[0].measure
    header = ("", f"first,{measure.unit}", f"second,{measure.unit}", f"difference,{measure.difference}")
    rows = tuple(
        (
            result.name,
            _level(result, result.first),
            _level(result, result.second),
            MISSING if result.difference is None else measure.change(result.difference, False),
            result.interval or MISSING,
            MISSING if result.paired is None else p_value(result.paired.p).removeprefix("= "),
            *((f"{result.paired.gained:,}", f"{result.paired.lost:,}") if result.paired else (MISSING, MISSING)),
        )
        for result in found
    )
    return Table(
        f"{capital(measure.title)} of both models", (*header, "95 % interval", "McNemar's p", "gained", "lost"), rows
    )


def _level(found: Result, value: float | None) -> str:
    return MISSING if value is None else found.measure.level(value).removesuffix(found.measure.unit)


def _difference(found: Result) -> str:
    return found.measure.change(found.difference or 0.0)


def _drawing(rows: Sequence[tuple[Result, int | None]]) -> Markup:
    low, high, step = _range([result for result, _ in rows])

    def share(value: float) -> str:
        return f"{100 * (value - low) / (high - low):.2f}%"

    factor = rows[0][0].measure.factor
    ticks = [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    zero = element("span", class_="iv-zero", style=f"left:{share(0)}")
    lines = [_line(result, role, zero, (low / factor, high / factor)) for result, role in rows]
    scale = [
        element("span", f"{tick:+g}".replace("-", "\N{MINUS SIGN}") if tick else "0", style=f"left:{share(tick)}")
        for tick in ticks
    ]
    axis = element("div", element("span", zero, *scale, class_="iv-ticks"), class_="iv-row iv-axis")
    return element("div", *lines, axis, class_="iv")


def _line(found: Result, role: int | None, zero: Markup, ends: tuple[float, float]) -> Markup:
    paired = found.paired
    assert paired is not None

    def share(value: float) -> float:
        return 100 * (value - ends[0]) / (ends[1] - ends[0])

    left, width = share(paired.low), share(paired.high) - share(paired.low)
    whisker = element("span", class_="iv-whisker", style=f"left:{left:.2f}%;width:{width:.2f}%")
    mark = element(
        "svg",
        element("circle", class_="c-mark", cx=8, cy=8, r=4) if role is None else marker(role, 8, 8, 5),
        class_="iv-mark",
        style=f"left:{share(paired.difference):.2f}%",
        viewBox="0 0 16 16",
        aria_hidden="true",
    )
    tip = f"{found.name}: {_difference(found)}\n95 % interval {found.interval}"
    return element(
        "div",
        element("span", found.name, class_="iv-name"),
        element("span", _difference(found), class_="iv-value"),
        element("span", zero, whisker, mark, class_="iv-track", data_tip=tip),
        class_=f"iv-row {'iv-between' if role is None else role_class(role)}",
    )


def _range(found: Sequence[Result]) -> tuple[float, float, float]:
    """Return the ends of the axis and the distance of its marks, in units as shown; zero lies within."""
    factor = found[0].measure.factor
    ends = [factor * end for result in found if (p := result.paired) is not None for end in (p.low, p.high)]
    low, high = min(*ends, 0.0), max(*ends, 0.0)
    span = (high - low) or 1.0
    rough = span / 4
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = magnitude * next(nice for nice in (1, 2, 5, 10) if nice * magnitude >= rough)
    return low - 0.06 * span, high + 0.06 * span, step
