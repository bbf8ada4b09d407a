"""The samples that changed sides, one by one: what they were taken for, and two pairs beside each other."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.numbers import signed
from refconv.measures.pairs import Measured, role_names
from refconv.measures.verdicts.confusions import confusions
from refconv.report.charts import Role
from refconv.report.elements import Figure
from refconv.report.sections.figures import bar_figure

DRAWN = 10


def confusions_figure(items: Sequence[Measured]) -> Figure | None:
    """Return the confusions that grew or shrank most; None if nothing changed."""
    grown = {item.role: confusions(item) for item in items}
    keys = {key for found in grown.values() for key, change in found.items() if change}
    if not keys:
        return None
    most = sorted(keys, key=lambda key: (-max(abs(found[key]) for found in grown.values()), key))[:DRAWN]
    labels = {key: f"{items[0].class_name(key[0])} taken for {items[0].class_name(key[1])}" for key in most}
    bars: dict[str, dict[Role, float | None]]
    bars = {labels[key]: {role: float(found[key]) for role, found in grown.items()} for key in most}
    names = role_names(items, before=False)
    first = ", ".join(f"{names[role]} {signed(found[most[0]])}" for role, found in grown.items())
    title = "Confusions that changed most"
    part = min(item.record.listed for item in items)
    return bar_figure(
        bars,
        names,
        title=title,
        y_label="samples",
        head="confusion",
        show=signed,
        alt=f"Bars of how many samples more or fewer are confused after than before; {labels[most[0]]}: {first}.",
        caption=f"{title}: samples of one class taken for another, after less before."
        + ("" if part == 1 else f" From the {100 * part:.0f} % of changed samples that the record lists."),
    )
