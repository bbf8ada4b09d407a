"""Elements of SVG and HTML as text: names and values go in, escaped markup comes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

Attribute = str | float | None
"""Text, a number, or None for an attribute that is left out."""


def element(name: str, *children: str | Markup, **attributes: Attribute) -> Markup:
    """Return one element with its children.

    Args:
        name: of the element, such as ``circle``.
        children: markup as it is, plain text escaped.
        attributes: underscores within become hyphens, one at the end is dropped.

    Example:
        >>> element("text", "a < b", x=1.25, text_anchor="end", class_="c-tick")
        Markup('<text x="1.2" text-anchor="end" class="c-tick">a &lt; b</text>')
        >>> element("line", x1=0.0, y1=None)
        Markup('<line x1="0"/>')
    """
    inside = Markup("").join(children)
    start = Markup("<") + Markup(name) + Markup("").join(_attribute(*pair) for pair in attributes.items())
    if not inside and name not in {"div", "span", "p", "svg"}:
        return start + Markup("/>")
    return start + Markup(">") + inside + Markup("</") + Markup(name) + Markup(">")


def _attribute(name: str, value: Attribute) -> Markup:
    if value is None:
        return Markup("")
    text = escape(value if isinstance(value, str) else coordinate(value)).replace("\n", Markup("&#10;"))
    return Markup(f' {name.rstrip("_").replace("_", "-")}="{text}"')


def coordinate(value: float) -> str:
    """Return a position to a tenth of a unit, as short as it gets.

    Example:
        >>> coordinate(12.04), coordinate(12.05001), coordinate(-0.01), coordinate(400)
        ('12', '12.1', '0', '400')
    """
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def drawing(width: float, height: float, *children: Markup, class_: str = "c-svg") -> Markup:
    """Return an SVG of this size in its own units; it takes the width that it gets."""
    box = {"viewBox": f"0 0 {coordinate(width)} {coordinate(height)}"}
    return element("svg", *children, class_=class_, aria_hidden="true", focusable="false", **box)


def path(points: Iterable[tuple[float, float]], *, closed: bool = False) -> str:
    """Return the data of a path through points.

    Example:
        >>> path([(0, 0), (1.26, 2)], closed=True)
        'M0 0L1.3 2Z'
    """
    steps = "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
    return f"M{steps}{'Z' if closed else ''}"


def box(x: float, y: float, wide: float, high: float) -> str:
    """Return the data of a path around a box.

    Example:
        >>> box(1, 2, 30, 4.5)
        'M1 2h30v4.5h-30z'
    """
    return f"M{coordinate(x)} {coordinate(y)}h{coordinate(wide)}v{coordinate(high)}h{coordinate(-wide)}z"


def group(children: Sequence[Markup], class_: str) -> Markup:
    """Return a group of elements of one class; nothing if there are none."""
    return element("g", *children, class_=class_) if children else Markup("")


def tip(text: str) -> Markup:
    """Return the title of an element, which browsers show under the pointer where no script runs."""
    return element("title", text)
