"""Elements of SVG and HTML as text: names and values go in, escaped markup comes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape


def element(name: str, *children: str | Markup, **attributes: str | float | None) -> Markup:
    """Return one element with its children; plain text is escaped, attributes that are None are left out.

    Example:
        >>> element("text", "a < b", x=1.25, text_anchor="end", class_="c-tick")
        Markup('<text x="1.2" text-anchor="end" class="c-tick">a &lt; b</text>')
    """
    inside, start = Markup("").join(children), f"<{name}"
    for key, value in attributes.items():
        if value is not None:
            text = escape(value if isinstance(value, str) else coordinate(value)).replace("\n", Markup("&#10;"))
            start += f' {key.rstrip("_").replace("_", "-")}="{text}"'
    short = not inside and name not in {"div", "span", "p", "svg"}
    return Markup(f"{start}/>" if short else f"{start}>{inside}</{name}>")


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
    """Return the data of a path through points."""
    steps = "L".join(f"{coordinate(x)} {coordinate(y)}" for x, y in points)
    return f"M{steps}{'Z' if closed else ''}"


def box(x: float, y: float, wide: float, high: float) -> str:
    """Return the data of a path around a box."""
    return f"M{coordinate(x)} {coordinate(y)}h{coordinate(wide)}v{coordinate(high)}h{coordinate(-wide)}z"


def group(children: Sequence[Markup], class_: str) -> Markup:
    """Return a group of elements of one class; nothing if there are none."""
    return element("g", *children, class_=class_) if children else Markup("")


def hit(outline: str, words: str) -> Markup:
    """Return an invisible area that says its words under the pointer, without a script by its title."""
    return element("path", element("title", words), d=outline, data_tip=words)


NOTHING = element("p", "no values", class_="c-empty")


def block(kind: str, *parts: Markup, title: str = "") -> Markup:
    """Return a chart with its title as one block of HTML; what screen readers hear stands beside it."""
    heading = element("div", title, class_="c-title") if title else Markup("")
    return element("div", heading, *parts, class_=f"c-block c-{kind}", aria_hidden="true")


def note(text: str, class_: str) -> Markup:
    """Return a line of text around a drawing; nothing if it is empty."""
    return element("div", text, class_=class_) if text else Markup("")


def above(label: str, arrow: str = "↑") -> Markup:
    """Return the name of an axis that runs up or down, to stand above it."""
    return note(f"{arrow} {label}" if label else "", "c-up")


def below(label: str) -> Markup:
    """Return the name of an axis that runs to the right, to stand below it."""
    return note(f"{label} →" if label else "", "c-across")


def panels(drawings: Sequence[Markup], titles: Sequence[str]) -> Markup:
    """Return drawings side by side, each under its title; as many in a row as there is room."""
    pairs = zip(drawings, titles, strict=True)
    each = [element("div", note(title, "c-panel-title"), drawing, class_="c-panel") for drawing, title in pairs]
    return element("div", *each, class_="c-panels", style=f"--c-count:{len(each)}")
