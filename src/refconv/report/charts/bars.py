"""Groups of bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from refconv.report.charts.frames import block, empty
from refconv.report.charts.plane import Guide
from refconv.report.charts.roles import Role, legend


@dataclass(frozen=True)
class Bars:
    """One group of bars.

    Attributes:
        label: the group's name.
        values: a value per role; None is missing.
        errors: half the length of the error bar, per role.
    """

    label: str
    values: Mapping[Role, float | None]
    errors: Mapping[Role, float] = field(default_factory=dict)


def bar_chart(
    groups: Sequence[Bars],
    names: Mapping[Role, str],
    *,
    title: str,
    y_label: str,
    y_range: tuple[float, float] | None = None,
    guides: Sequence[Guide] = (),
) -> Markup:
    """Return groups of bars that start at zero."""
    if not groups:
        return empty("bars", title)
    return block("bars", legend(names), title=title)
