"""Roles: which model a mark stands for, told by colour, dash and shape at once."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from markupsafe import Markup

from refconv.report.charts.svg import element

Role = Literal["before"] | int
"""The shared start, or a pair by its place."""

COLOURS = 6
SHAPES = ("square", "diamond", "up", "down", "plus", "cross", "bar")
_SIZES = 3.4


def role_class(role: Role) -> str:
    """Return the class that gives an element its role's colour and dash.

    Example:
        >>> role_class("before"), role_class(1), role_class(7)
        ('c-before', 'c-r1', 'c-r1')
    """
    return "c-before" if role == "before" else f"c-r{role % COLOURS}"


def marker(role: Role, x: float, y: float, size: float = _SIZES) -> Markup:
    """Return the role's shape around a position; `size` is about its radius."""
    class_ = f"c-mark {role_class(role)}"
    if role == "before":
        return element("circle", class_=class_, cx=x, cy=y, r=size)
    return element("path", class_=class_, d=_outline(SHAPES[role % len(SHAPES)], x, y, size))


def _outline(shape: str, x: float, y: float, r: float) -> str:
    def around(*corners: tuple[float, float]) -> str:
        return "M" + "L".join(f"{x + r * dx:.1f} {y + r * dy:.1f}" for dx, dy in corners) + "Z"

    t = 0.4
    plus = [(-t, -1.2), (t, -1.2), (t, -t), (1.2, -t), (1.2, t), (t, t), (t, 1.2), (-t, 1.2), (-t, t), (-1.2, t)]
    plus += [(-1.2, -t), (-t, -t)]
    return {
        "square": lambda: around((-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)),
        "diamond": lambda: around((0, -1.35), (1.35, 0), (0, 1.35), (-1.35, 0)),
        "up": lambda: around((0, -1.2), (1.2, 0.9), (-1.2, 0.9)),
        "down": lambda: around((0, 1.2), (1.2, -0.9), (-1.2, -0.9)),
        "plus": lambda: around(*plus),
        "cross": lambda: around(*[(0.75 * (a - b), 0.75 * (a + b)) for a, b in plus]),
        "bar": lambda: around((-0.5, -1.3), (0.5, -1.3), (0.5, 1.3), (-0.5, 1.3)),
    }[shape]()


def legend(names: Iterable[tuple[Role, str]]) -> Markup:
    """Return names with the dashes and shapes of their roles, as HTML; nothing if there is no name."""
    entries = [element("span", _swatch(role), element("span", name), class_="c-key") for role, name in names if name]
    return element("div", *entries, class_="c-legend") if entries else Markup("")


def _swatch(role: Role) -> Markup:
    line = element("path", class_=f"c-line {role_class(role)}", d="M1 6H29")
    box = {"viewBox": "0 0 30 12"}
    return element("svg", line, marker(role, 15, 6, 3.8), class_="c-swatch", aria_hidden="true", **box)
