"""Labels that fit, and marks that tell by colour, dash and shape at once which model they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from markupsafe import Markup

from refconv.measures.pairs import Role as Role
from refconv.report.charts.svg import coordinate, element

Names = Mapping[Role, str]
"""What the models of a chart are called; those without a name are left out."""

TEXT = 13.5  # size of text in units of a drawing; charts.css says the same, and makes it smaller where there is room
_NARROW = frozenset("iljtfrI|.,:;'()[] ·")
_WIDE = frozenset("mwMW%×@")

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


def text(label: str, x: float, y: float, anchor: str | None = None, class_: str = "c-tick") -> Markup:
    """Return a label at a position."""
    return element("text", label, class_=class_, x=x, y=y, text_anchor=anchor if anchor != "start" else None)


def width(text: str) -> float:
    """Return about how wide text is in a sans-serif face, rather too wide than too narrow."""
    return TEXT * sum(0.33 if c in _NARROW else 0.86 if c in _WIDE else 0.66 if c.isupper() else 0.56 for c in text)


def abbreviate(names: Sequence[str], limit: int) -> list[str]:
    """Return names of at most `limit` characters, all cut at one place, so that they stay different if they can."""
    heads = sorted(range(1, limit - 1), key=lambda head: abs(head - 0.45 * limit))
    best: list[str] = []
    for head in heads:
        short = [n if len(n) <= limit else f"{n[:head]}…{n[len(n) - (limit - 1 - head) :]}" for n in names]
        if len(set(short)) == len(set(names)):
            return short
        if len(set(short)) > len(set(best)):
            best = short
    return best


def wrap(text: str, room: float) -> list[str] | None:
    """Return the words of a text in lines that fit into `room`; None if a single word does not."""
    lines: list[str] = []
    for word in text.split():
        if width(word) > room:
            return None
        if lines and width(f"{lines[-1]} {word}") <= room:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines


@dataclass
class Places:
    """The boxes that labels already take, so that none is put over another."""

    boxes: list[tuple[float, float, float, float]] = field(default_factory=list)

    def take(self, x: float, y: float, wide: float, high: float) -> bool:
        """Take the box whose upper left corner is (x, y) if it is free, and return whether it was."""
        for left, top, right, bottom in self.boxes:
            if x < right and left < x + wide and y < bottom and top < y + high:
                return False
        self.boxes.append((x, y, x + wide, y + high))
        return True


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
    entries = []
    for role, name in ((role, name) for role, name in names if name):
        line = element("path", class_=f"c-line {role_class(role)}", d="M1 6H35")
        parts = line, marker(role, 18, 6, 3.8)
        swatch = element("svg", *parts, class_="c-swatch", aria_hidden="true", viewBox="0 0 36 12")
        entries.append(element("span", swatch, element("span", name), class_="c-key"))
    return element("div", *entries, class_="c-legend") if entries else Markup("")
