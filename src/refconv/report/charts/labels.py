"""Labels that fit: how wide text is, how long names are shortened, how words are set in lines."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from refconv.report.charts.svg import element

TEXT = 13.5  # size of text in units of a drawing; charts.css says the same, and makes it smaller where there is room
_NARROW = frozenset("iljtfrI|.,:;'()[] ·")
_WIDE = frozenset("mwMW%×@")


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
