"""Groups of bars, upright where their names fit below them, else lying."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from refconv.measures.numbers import number
from refconv.report.charts.axes import Axis, Range, finite, fit
from refconv.report.charts.labels import TEXT, Names, Role, abbreviate, legend, marker, role_class, text, wrap
from refconv.report.charts.plane import EDGE, FOOT, WIDTH, Plane, level_ticks, margin, upright_ticks
from refconv.report.charts.svg import NOTHING, above, below, block, box, drawing, element, group, hit, path

_HEIGHT = 210.0
_LYING = 13.0  # thickness of a lying bar and the gap below it
_LINES, _LETTERS, _THINNEST = 3, 52, 8.0
_FILLED = 0.72  # share of a group's room that its bars take


@dataclass(frozen=True)
class Bars:
    """One group of bars: a value per role, None is missing, and half the length of the error bar per role."""

    label: str
    values: Mapping[Role, float | None]
    errors: Mapping[Role, float] = field(default_factory=dict)

    def ends(self, role: Role) -> Range | None:
        """Return the ends of a role's error bar; None if it has none."""
        known = finite([self.values.get(role), self.errors.get(role)])
        return (known[0] - known[1], known[0] + known[1]) if len(known) == 2 else None


@dataclass(frozen=True)
class _Layout:
    """Where bars lie: `room` of each group along an axis, from `first` on, and whether that axis is the level one."""

    plane: Plane
    values: Axis
    upright: bool
    first: float
    room: float
    roles: Sequence[Role]

    def along(self, group: int, place: int) -> float:
        """Return the middle of a bar along the axis of groups."""
        start = self.first + group * self.room
        if self.upright:
            return start + self.room * ((1 - _FILLED) / 2 + _FILLED * (place + 0.5) / len(self.roles))
        return start + 1.55 * TEXT + (place + 0.5) * _LYING

    @property
    def thickness(self) -> float:
        return min(28.0, self.room * _FILLED / len(self.roles) * 0.86) if self.upright else _LYING - 3

    def point(self, along: float, value: float) -> Range:
        return (along, value) if self.upright else (value, along)

    @property
    def zero(self) -> Markup:
        place, axis = self.values.bounded(0.0), self.plane.x if self.upright else self.plane.y
        return element("path", class_="c-axis", d=path([self.point(end, place) for end in (axis.start, axis.end)]))


def bar_chart(
    groups: Sequence[Bars], names: Names, *, title: str, y_label: str, y_range: Range | None = None
) -> Markup:
    """Return groups of bars from zero, each with its role's shape at its end; roles without a name are left out.

    Bars stand upright while the names of the groups fit below them; otherwise they lie, each group under its name.
    By default the axis holds values, errors and zero.
    """
    values = [one.values.get(role) for one in groups for role in names]
    if not finite(values):
        return block("bars", NOTHING, title=title)
    ends = [end for one in groups for role in names for end in one.ends(role) or ()]
    between = y_range or _ends([*values, *ends])
    labels, roles = [one.label for one in groups], list(names)
    layout, around, height = _upright(labels, roles, between) or _lying(labels, roles, between)
    bars = [_group(layout, i, one, names) for i, one in enumerate(groups)]
    picture = drawing(WIDTH, height, around[0], *bars, *around[1:], layout.zero)
    named = [above(y_label), picture] if layout.upright else [picture, below(y_label)]
    return block("bars", legend(names.items()), *named, title=title)


def _ends(values: Sequence[float | None]) -> Range:
    axis = fit([*values, 0.0], 0, 1)
    assert axis is not None
    known = finite(values)
    return (axis.low if min(known) < 0 else 0.0, axis.high if max(known) > 0 else 0.0 if min(known) < 0 else 1.0)


def _upright(
    labels: Sequence[str], roles: Sequence[Role], between: Range
) -> tuple[_Layout, list[Markup], float] | None:
    """Return where upright bars lie, the axis and the names, and the height; None if they do not fit."""
    values = Axis(*between, EDGE + _HEIGHT, EDGE)
    level = Axis(0, len(labels), margin(values.ticks()), WIDTH - EDGE)
    room = (level.end - level.start) / len(labels)
    layout = _Layout(Plane(level, values), values, True, level.start, room, roles)
    wrapped = [lines for label in labels if (lines := wrap(label, room - 6)) is not None]
    most = max(map(len, wrapped), default=0)
    if len(wrapped) < len(labels) or most > _LINES or layout.thickness < _THINNEST:
        return None
    names = []
    for i, lines in enumerate(wrapped):
        x, foot = layout.first + (i + 0.5) * room, values.start + 3
        each = [text(line, x, foot + row * 1.1 * TEXT, "middle", "c-name") for row, line in enumerate(lines, 1)]
        names.append(group(each, "c-names"))
    return layout, [level_ticks(layout.plane), *names], EDGE + _HEIGHT + 6 + most * 1.15 * TEXT


def _lying(labels: Sequence[str], roles: Sequence[Role], between: Range) -> tuple[_Layout, list[Markup], float]:
    """Return where lying bars lie, the axis and the names, and the height."""
    values = Axis(*between, 1, WIDTH - EDGE)
    first, each = 2.0, 1.55 * TEXT + len(roles) * _LYING + 6
    foot = first + len(labels) * each
    layout = _Layout(Plane(values, Axis(0, 1, foot, 2)), values, False, first, each, roles)
    shown = enumerate(abbreviate(labels, _LETTERS))
    names = [text(label, 0, first + i * each + TEXT, None, "c-name") for i, label in shown]
    return layout, [upright_ticks(layout.plane, grid=True), *names], foot + FOOT


def _group(layout: _Layout, i: int, bars: Bars, names: Names) -> Markup:
    parts, said = [], [bars.label]
    for place, role in enumerate(layout.roles):
        value, ends = bars.values.get(role), bars.ends(role)
        if value is not None and finite([value]):
            parts += _bar(layout, layout.along(i, place), value, ends, role)
            said.append(f"{names[role]} {number(value)}" + (f" ± {number(bars.errors.get(role))}" if ends else ""))
    start, y = layout.first + i * layout.room, layout.plane.y
    around = box(start, y.end, layout.room, y.start - y.end) if layout.upright else box(0, start, WIDTH, layout.room)
    return group([*parts, group([hit(around, "\n".join(said))], "c-hits")], "c-group")


def _bar(layout: _Layout, along: float, value: float, ends: Range | None, role: Role) -> list[Markup]:
    axis, half = layout.values, layout.thickness / 2
    base, end = axis.bounded(0.0), axis.bounded(value)
    corners = [(along - half, base), (along - half, end), (along + half, end), (along + half, base)]
    outline = path([layout.point(*corner) for corner in corners])
    parts = [element("path", class_=f"c-bar {role_class(role)}", d=outline)]
    if ends is not None:
        low, high = map(axis.bounded, ends)
        cap = min(4.0, half)
        strokes = [((along, low), (along, high)), *(((along - cap, one), (along + cap, one)) for one in (low, high))]
        stems = "".join(path([layout.point(*a), layout.point(*b)]) for a, b in strokes)
        parts.append(element("path", class_=f"c-error {role_class(role)}", d=stems))
    return [*parts, marker(role, *layout.point(along, end))]
