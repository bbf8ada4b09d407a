"""Roles: which model a mark stands for, told by colour, dash and shape at once."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise

from markupsafe import Markup

from refconv.measures.pairs import Role as Role
from refconv.report.charts.svg import coordinate, element

Corners = list[tuple[float, float]]
_COLOURS = 6
_ARM = 0.42
_PLUS: Corners = [
    (-_ARM, -1.2), (_ARM, -1.2), (_ARM, -_ARM), (1.2, -_ARM), (1.2, _ARM), (_ARM, _ARM),
    (_ARM, 1.2), (-_ARM, 1.2), (-_ARM, _ARM), (-1.2, _ARM), (-1.2, -_ARM), (-_ARM, -_ARM),
]  # fmt: skip
_SHAPES: tuple[Corners, ...] = (
    [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
    [(0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)],
    [(0, -1.2), (1.2, 0.9), (-1.2, 0.9)],
    [(0, 1.2), (1.2, -0.9), (-1.2, -0.9)],
    _PLUS,
    [(0.75 * (x - y), 0.75 * (x + y)) for x, y in _PLUS],
    [(-0.5, -1.3), (0.5, -1.3), (0.5, 1.3), (-0.5, 1.3)],
)
"""Corners of the pairs' shapes: one more than there are colours, so that no two of 42 pairs look the same."""


def role_class(role: Role) -> str:
    """Return the class that gives an element its role's colour and dash."""
    return "c-before" if role == "before" else f"c-r{role % _COLOURS}"


def marks(role: Role, points: Iterable[tuple[float, float]], size: float = 3.4) -> Markup:
    """Return the role's shape around positions as one path; it is a hollow circle for the start, filled for pairs."""
    if role == "before":
        half = f"a{coordinate(1.2 * size)} {coordinate(1.2 * size)} 0 0 1 0 "
        first, outline = (0.0, -1.2 * size), f"{half}{coordinate(2.4 * size)}{half}{coordinate(-2.4 * size)}z"
    else:
        shape = _SHAPES[role % len(_SHAPES)]
        steps = ((size * (x1 - x0), size * (y1 - y0)) for (x0, y0), (x1, y1) in pairwise(shape))
        first = (size * shape[0][0], size * shape[0][1])
        outline = "l" + " ".join(f"{coordinate(dx)} {coordinate(dy)}" for dx, dy in steps) + "z"
    data = "".join(f"M{coordinate(x + first[0])} {coordinate(y + first[1])}{outline}" for x, y in points)
    return element("path", class_=f"c-mark {role_class(role)}", d=data) if data else Markup("")


def marker(role: Role, x: float, y: float, size: float = 3.4) -> Markup:
    """Return the role's shape around one position."""
    return marks(role, [(x, y)], size)


def legend(names: Iterable[tuple[Role, str]]) -> Markup:
    """Return names with the dashes and shapes of their roles, as HTML; nothing if there is no name."""
    entries = [element("span", _swatch(role), element("span", name), class_="c-key") for role, name in names if name]
    return element("div", *entries, class_="c-legend") if entries else Markup("")


def _swatch(role: Role) -> Markup:
    line = element("path", class_=f"c-line {role_class(role)}", d="M1 6H35")
    box = {"viewBox": "0 0 36 12"}
    return element("svg", line, marker(role, 18, 6, 3.8), class_="c-swatch", aria_hidden="true", **box)
