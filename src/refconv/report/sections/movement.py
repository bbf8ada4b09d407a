"""How far each layer moved, and whether along the patterns that its base kernels share."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.direction import RULE
from refconv.measures.layers import Quantity, field, row_of
from refconv.measures.numbers import count, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.movement import ALIGNMENT, RELATIVE, VERDICT
from refconv.measures.verdicts.planes import times
from refconv.report.charts import Guide
from refconv.report.elements import Figure
from refconv.report.sections.per_layer import layer_figure
from refconv.report.sections.spec import Spec

COSINE = Quantity("cosine with the start", field("cosine"), sides=False)
LEADING = Quantity("share along the leading patterns", field("leading"), sides=False, show=percent)


def _figures(items: Sequence[Measured]) -> list[Figure]:
    isotropic = {f"isotropic {item.name}": lambda layer, item=item: _isotropic(item, layer) for item in items}
    return [
        layer_figure(
            items,
            one,
            caption=text,
            guides=(Guide("x", 1, "isotropic"),) if one is ALIGNMENT else (),
            choice="measure",
            more=isotropic if one is LEADING else None,
        )
        for one, text in _CAPTIONS.items()
    ]


_CAPTIONS = {
    RELATIVE: "Length of the change over that of the start.",
    ALIGNMENT: "Alignment of the change with the Gram of the start, 0 to the number of taps; 1 is isotropic.",
    COSINE: "Cosine between the kernels before and after.",
    LEADING: "Share of the squared change in the fewest patterns that hold half of the Gram's trace; the table has "
    "what an isotropic movement would have there.",
}


def _isotropic(item: Measured, layer: str) -> str:
    row = row_of(item, layer)
    return percent(row.leading_isotropic if row else None)


def _notes(items: Sequence[Measured]) -> tuple[str, ...]:
    still = [f"In {item.name} {count(item.record.still, 'layer')} did not move." for item in items if item.record.still]
    cut = {row.layer for item in items for row in item.record.layers if row.sampled < row.blocks}
    orders = {(tuple(item.record.map_size), item.record.order) for item in items}
    grams = " and ".join(f"map size {times(size)}, order {order}" for size, order in sorted(orders))
    return (
        "Training further moves kernels in any case; what refocusing did shows beside plain training from the same "
        "start. A relative distance far above 1 says that the start is a minor part of the result.",
        f"The Gram is that of refocusing with {grams}.",
        RULE,
        *still,
        (f"Alignment was measured on a sample of the blocks of {count(len(cut), 'layer')}.") if cut else "",
    )


section = Spec(
    VERDICT,
    title="Distance from the start",
    about="The relative distance is the length of a layer's change over the length of its kernels at the start. "
    "Refocusing multiplies gradients by the Gram of the base kernels, so its movement should be aligned with the "
    "patterns that these share: an alignment of 1 is a movement that knows no direction, larger is along them.",
    figures=_figures,
    notes=_notes,
)
