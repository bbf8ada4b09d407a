"""Kernels to look at: base, result and difference, layer by layer."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from statistics import median
from typing import Any

from refconv.measures.direction import NEGLIGIBLE
from refconv.measures.findings import Finding
from refconv.measures.numbers import percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict

Taps = Sequence[float]


def _change(item: Measured) -> Finding:
    """Say by how much the shown kernels of a layer changed, as a share of their length."""
    shares = [(share, row.layer) for row in item.record.layers if (share := relative(row)) is not None]
    if not shares:
        return Finding(item.name, "The kernels of the start that are shown are all zero.", "unclear")
    most, layer = max(shares)
    if most == 0:
        return Finding(item.name, "None of the kernels that are shown changed.", "same")
    middle = median(share for share, _ in shares)
    text = f"The kernels shown of {layer}, the only layer, differ by {percent(most)} of their length."
    if len(shares) > 1:
        text = (
            f"The kernels shown differ by {percent(middle)} of their length in the median of {len(shares)} layers, "
            f"most in {layer}, by {percent(most)}."
        )
    return Finding(item.name, text, "same" if middle < NEGLIGIBLE else "different")


def relative(row: Any) -> float | None:
    """Return the length of a layer's change over the length of its start; None if that is zero."""
    length = length_of(row.before)
    return length_of(difference(row)) / length if length else None


def length_of(kernels: Sequence[Taps]) -> float:
    """Return the root of the square sum of all taps."""
    return hypot(*(tap for kernel in kernels for tap in kernel))


def difference(row: Any) -> list[list[float]]:
    """Return the kernels after less those before."""
    both = zip(row.before, row.after, strict=True)
    return [[last - first for first, last in zip(before, after, strict=True)] for before, after in both]


VERDICT = Verdict("kernels", findings=lambda item: (_change(item),))
