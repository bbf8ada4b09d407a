"""Whether filters are varied, orthogonal and alive, and which layers are degenerate."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10

from refconv.measures.direction import RULE
from refconv.measures.findings import Change, Finding
from refconv.measures.layer_findings import contrast_finding, course_finding
from refconv.measures.layers import Quantity, field, row_of
from refconv.measures.numbers import count, percent
from refconv.measures.pairs import Measured
from refconv.report.elements import Figure
from refconv.report.sections.per_layer import layer_figure
from refconv.report.sections.spec import Spec

ENTROPY = Quantity("variance entropy", field("variance_entropy"), over=lambda row: log10(row.taps))
ORTHOGONALITY = Quantity("orthogonality", field("orthogonality"))
SPARSITY = Quantity("sparsity", field("sparsity"), show=percent)
_JUDGED = (ENTROPY, ORTHOGONALITY)
_NAMED = 5
"""Layers that a sentence names at most."""

_CAPTIONS = {
    ENTROPY: "Entropy of the explained variance of a layer's slices as a share of the largest possible, 0 to 1: higher "
    "is more varied; untrained layers are at 1.",
    ORTHOGONALITY: "One less the mean absolute cosine between filters, 0 to 1: higher is more orthogonal.",
    SPARSITY: "Share of slices that are zero to 1 % of the layer's largest tap: these contribute next to nothing.",
}


def _figures(items: Sequence[Measured]) -> list[Figure]:
    status = {
        f"degenerate {name}": lambda layer, item=item, side=side: _status(item, layer, side)
        for name, item, side in [("before", items[0], "before"), *((item.name, item, "after") for item in items)]
    }
    return [
        layer_figure(items, one, caption=text, choice="measure", more=status if one is ENTROPY else None)
        for one, text in _CAPTIONS.items()
    ]


def _status(item: Measured, layer: str, side: str) -> str:
    row = row_of(item, layer)
    return "" if row is None else getattr(row, side).degenerate or "no"


def _degenerate(item: Measured) -> Finding:
    rows = item.record.layers
    bad = [{row.layer for row in rows if getattr(row, side).degenerate} for side in ("before", "after")]
    before, after = map(len, bad)
    if bad[0] == bad[1]:
        return Finding(item.name, _still(before, len(rows)), "same")
    moves = [("became degenerate", bad[1] - bad[0]), ("recovered", bad[0] - bad[1])]
    said = "; ".join(f"{_named([row.layer for row in rows if row.layer in of])} {what}" for what, of in moves if of)
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


def _named(layers: Sequence[str]) -> str:
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


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    unjudged = {row.layer for item in items for row in item.record.layers if row.random_threshold is None}
    few = f"{count(len(unjudged), 'layer')} with no more slices than taps, judged by sparsity alone: "
    return (
        "The lines at one half that make a layer sparse or narrow are this project's; random is what drawn normal "
        "layers of the same size look like. A layer near a line may cross it by a small change.",
        "Not among RefConv's claims, but less redundancy would show as higher entropy and orthogonality.",
        RULE,
        *((f"{few}{_named(sorted(unjudged))}.",) if unjudged else ()),
    )


section = Spec(
    name="filters",
    title="Filter quality",
    about="Good filters are varied, nearly orthogonal and not zero; after CNN Filter DB a layer is degenerate if "
    "most of its slices are zero (sparse), if they repeat a few patterns (narrow) or if they look like noise "
    "(random). Untrained layers are random, so fewer degenerate layers are better.",
    findings=lambda item: (
        _degenerate(item),
        _sparse(item),
        *(course_finding(item, one) for one in (ENTROPY, ORTHOGONALITY)),
    ),
    contrasts=lambda subject, reference: (
        contrast_finding(subject, reference, one) for one in (ENTROPY, ORTHOGONALITY)
    ),
    figures=_figures,
    notes=_notes,
)
