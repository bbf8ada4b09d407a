"""Whether filters are varied, orthogonal and alive, and which layers are degenerate."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.direction import RULE
from refconv.measures.layers import Quantity, field, row_of
from refconv.measures.numbers import count, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.filters import ENTROPY, ORTHOGONALITY, VERDICT, named
from refconv.report.elements import Figure
from refconv.report.sections.per_layer import layer_figure
from refconv.report.sections.spec import Spec

SPARSITY = Quantity("sparsity", field("sparsity"), show=percent)

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


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    unjudged = {row.layer for item in items for row in item.record.layers if row.random_threshold is None}
    few = f"{count(len(unjudged), 'layer')} with no more slices than taps, judged by sparsity alone: "
    return (
        "The lines at one half that make a layer sparse or narrow are this project's; random is what drawn normal "
        "layers of the same size look like. A layer near a line may cross it by a small change.",
        "Not among RefConv's claims, but less redundancy would show as higher entropy and orthogonality.",
        RULE,
        (f"{few}{named(sorted(unjudged))}.") if unjudged else "",
    )


section = Spec(
    VERDICT,
    title="Filter quality",
    about="Good filters are varied, nearly orthogonal and not zero; after CNN Filter DB a layer is degenerate if "
    "most of its slices are zero (sparse), if they repeat a few patterns (narrow) or if they look like noise "
    "(random). Untrained layers are random, so fewer degenerate layers are better.",
    figures=_figures,
    notes=_notes,
)
