"""Differences between models with their intervals, one below the other around zero.

Drawn with boxes instead of SVG, so that its text keeps its size on a phone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from refconv.measures.judging import PairedDifference
from refconv.measures.numbers import MINUS, MISSING
from refconv.report.charts.axes import round_step
from refconv.report.charts.labels import marker, role_class
from refconv.report.charts.svg import element
from refconv.report.elements import Figure, Table
from refconv.report.results import Result, p_value
from refconv.sentences import capital


def intervals_figure(found: Sequence[Result], between: Sequence[Result]) -> Figure | None:
    """Return the picture of all differences that have an interval, with a table of all results; None if none has one.

    `found` are the results of the pairs in their order, `between` those of the second models of two pairs each.
    """
    rows: list[tuple[Result, int | None]] = [(one, place) for place, one in enumerate(found)]
    rows += [(one, None) for one in between]
    drawn = [(one, one.paired, role) for one, role in rows if one.paired is not None]
    if not drawn:
        return None
    title, unit = found[0].title, found[0].words.primary.unit
    said = "; ".join(f"{one.name} {one.change(one.difference)}, 95 % interval {one.interval}" for one, *_ in drawn)
    return Figure(
        drawing=_drawing(drawn),
        alt=f"Differences in {title} with 95 % intervals around a line at zero. {said}.",
        caption=f"Difference in {title}{unit and ',' + unit}, with 95 % intervals: each pair against its start"
        f"{', then the ends of two pairs against one another' if between else ''}. To the right of zero is better.",
        table=_table([result for result, _ in rows]),
    )


def _table(found: Sequence[Result]) -> Table:
    measure = found[0].words.primary
    texts = f"first, {measure.scale.unit}", f"second, {measure.scale.unit}", f"difference,{measure.unit}"
    header = ("", *(text.rstrip(", ") for text in texts))  # a measure without a unit has none
    rows = []
    for one in found:
        cells = [MISSING if value is None else one.level(value, "") for value in (one.first, one.second)]
        cells += [MISSING if one.difference is None else one.change(one.difference, ""), one.interval or MISSING]
        paired = one.paired
        more = (p_value(paired.p).removeprefix("= "), f"{paired.gained:,}", f"{paired.lost:,}") if paired else ()
        rows.append((one.name, *cells, *(more or (MISSING,) * 3)))
    caption = f"{capital(found[0].title)} of both models"
    return Table(caption, (*header, "95 % interval", "McNemar's p", "gained", "lost"), tuple(rows))


def _drawing(rows: Sequence[tuple[Result, PairedDifference, int | None]]) -> Markup:
    factor = rows[0][0].words.primary.factor
    ends = [factor * end for _, paired, _ in rows for end in (paired.low, paired.high)]
    span = (max(*ends, 0.0) - min(*ends, 0.0)) or 1.0
    low, high = min(*ends, 0.0) - 0.06 * span, max(*ends, 0.0) + 0.06 * span
    step = round_step(span / 4)

    def share(value: float) -> float:
        return 100 * (value - low) / (high - low)

    zero = element("span", class_="iv-zero", style=f"left:{share(0):.2f}%")
    lines = [_line(*row, zero, lambda value: share(factor * value)) for row in rows]
    ticks = [step * i for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]
    said = [f"{tick:+g}".replace("-", MINUS) if tick else "0" for tick in ticks]
    scale = [element("span", one, style=f"left:{share(tick):.2f}%") for one, tick in zip(said, ticks, strict=True)]
    axis = element("div", element("span", zero, *scale, class_="iv-ticks"), class_="iv-row iv-axis")
    return element("div", *lines, axis, class_="iv")


def _line(
    found: Result, paired: PairedDifference, role: int | None, zero: Markup, share: Callable[[float], float]
) -> Markup:
    left, width = share(paired.low), share(paired.high) - share(paired.low)
    whisker = element("span", class_="iv-whisker", style=f"left:{left:.2f}%;width:{width:.2f}%")
    shape = element("circle", class_="c-mark", cx=8, cy=8, r=4) if role is None else marker(role, 8, 8, 5)
    style = f"left:{share(paired.difference):.2f}%"
    mark = element("svg", shape, class_="iv-mark", style=style, viewBox="0 0 16 16", aria_hidden="true")
    tip = f"{found.name}: {found.change(found.difference)}\n95 % interval {found.interval}"
    return element(
        "div",
        element("span", found.name, class_="iv-name"),
        element("span", found.change(found.difference), class_="iv-value"),
        element("span", zero, whisker, mark, class_="iv-track", data_tip=tip),
        class_=f"iv-row {'iv-between' if role is None else role_class(role)}",
    )
