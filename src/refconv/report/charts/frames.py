"""What surrounds a drawing: a title, the names of axes, a legend; and several drawings side by side."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup

from refconv.report.charts.svg import element


def block(kind: str, *parts: Markup, title: str = "") -> Markup:
    """Return a chart as one block of HTML; what screen readers hear stands beside it."""
    heading = element("div", title, class_="c-title") if title else Markup("")
    return element("div", heading, *parts, class_=f"c-block c-{kind}", aria_hidden="true")


def empty(kind: str, title: str = "") -> Markup:
    """Return what stands in place of a chart that has nothing to show."""
    return block(kind, element("p", "no values", class_="c-empty"), title=title)


def note(text: str, class_: str) -> Markup:
    """Return a line of text around a drawing, such as the name of an axis; nothing if it is empty."""
    return element("div", text, class_=class_) if text else Markup("")


def upwards(label: str) -> Markup:
    """Return the name of an axis that runs up, to stand above it."""
    return note(f"↑ {label}" if label else "", "c-up")


def downwards(label: str) -> Markup:
    """Return the name of what runs down, to stand above it."""
    return note(f"↓ {label}" if label else "", "c-up")


def across(label: str) -> Markup:
    """Return the name of an axis that runs to the right, to stand below it."""
    return note(f"{label} →" if label else "", "c-across")


def panels(drawings: Sequence[Markup], titles: Sequence[str]) -> Markup:
    """Return drawings side by side, each under its title; as many in a row as there is room."""
    each = [
        element("div", note(title, "c-panel-title"), drawing, class_="c-panel")
        for drawing, title in zip(drawings, titles, strict=True)
    ]
    return element("div", *each, class_="c-panels", style=f"--c-count:{len(each)}")
