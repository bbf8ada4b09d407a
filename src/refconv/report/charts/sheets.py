"""The kernels of a layer as small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from refconv.report.charts.frames import block, empty, panels


@dataclass(frozen=True)
class Sheet:
    """Kernels of one layer in one state.

    Attributes:
        title: the state, such as ``base``.
        kernels: taps [n, height, width].
        names: what the kernels are called, in their order; numbers unless given.
    """

    title: str
    kernels: Sequence[Sequence[Sequence[float]]]
    names: Sequence[str] = ()


def kernel_sheets(sheets: Sequence[Sheet], *, columns: int | None = None) -> Markup:
    """Return sheets side by side, in the colours of one scale around zero."""
    if not sheets:
        return empty("sheets")
    return block("sheets", panels([Markup("")] * len(sheets), [one.title for one in sheets]))
