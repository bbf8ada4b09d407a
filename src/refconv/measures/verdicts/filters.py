"""Whether filters are varied, orthogonal and alive, and which layers are degenerate."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from refconv.measures.findings import Change, Finding
from refconv.measures.layer_findings import contrast_finding, course_finding
from refconv.measures.layers import Quantity, field
from refconv.measures.numbers import count, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict

ENTROPY = Quantity("variance entropy", field("variance_entropy"), over=lambda row: log10(row.taps))

ORTHOGONALITY = Quantity("orthogonality", field("orthogonality"))

_NAMED = 5
"""Layers that a sentence names at most."""


def _degenerate(item: Measured) -> Finding:
    rows = item.record.layers
    bad = [{row.layer for row in rows if getattr(row, side).degenerate} for side in ("before", "after")]
    before, after = map(len, bad)
    if bad[0] == bad[1]:
        return Finding(item.name, _still(before, len(rows)), "same")
    moves = [("became degenerate", bad[1] - bad[0]), ("recovered", bad[0] - bad[1])]
    said = "; ".join(f"{named([row.layer for row in rows if row.layer in of])} {what}" for what, of in moves if of)
    change: Change = "better" if after < before else "worse" if after > before else "different"
    text = f"{before} of {count(len(rows), 'layer')} {_are(before)} degenerate before, {after} after: {said}."
    return Finding(item.name, text, change)


def _still(bad: int, layers: int) -> str:
    """Say that the degenerate layers are the same in both models."""
    if layers == 1:
        return f"The only layer is {'' if bad else 'not '}degenerate, before {'and' if bad else 'or'} after."
    if not bad:
        return f"None of {layers} layers is degenerate, before or after."
    ones = "one" if bad == 1 else "ones"
    return f"{bad} of {layers} layers {_are(bad)} degenerate before and after, the same {ones}."


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def named(layers: Sequence[str]) -> str:
    """Return the names of layers as an enumeration, the first few if there are many."""
    more = len(layers) - _NAMED
    if more > 0:
        return f"{', '.join(layers[:_NAMED])} and {more} more"
    return layers[0] if len(layers) == 1 else f"{', '.join(layers[:-1])} and {layers[-1]}"


def _sparse(item: Measured) -> Finding:
    first, last = item.record.sparsity
    shown = [percent(share, 2) for share in (first, last)]
    if shown[0] == shown[1]:
        return Finding(item.name, f"{shown[0]} of all slices are sparse, before and after.", "same")
    text = f"{shown[0]} of all slices are sparse before, {shown[1]} after."
    return Finding(item.name, text, "better" if last < first else "worse")


VERDICT = Verdict(
    "filters",
    findings=lambda item: (
        _degenerate(item),
        _sparse(item),
        *(course_finding(item, one) for one in (ENTROPY, ORTHOGONALITY)),
    ),
    contrasts=lambda subject, reference: (
        contrast_finding(subject, reference, one) for one in (ENTROPY, ORTHOGONALITY)
    ),
)
