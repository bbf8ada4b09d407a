"""How far each layer moved, and whether along the patterns that its base kernels share."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.pairs import Measured, Pair, measured, notes_on, rivals
from refconv.report.charts import Guide
from refconv.report.elements import Change, Finding, Section
from refconv.report.numbers import count, number, percent
from refconv.report.sections.direction import NEGLIGIBLE, RULE, as_change, direction, tally
from refconv.report.sections.layer_findings import contrast_finding
from refconv.report.sections.per_layer import Quantity, field, layer_figure, row_of
from refconv.report.sections.planes import times

RELATIVE = Quantity("relative distance", field("relative"), sides=False)
ALIGNMENT = Quantity("alignment with the Gram", field("alignment"), sides=False)
COSINE = Quantity("cosine with the start", field("cosine"), sides=False)
LEADING = Quantity("share along the leading patterns", field("leading"), sides=False, show=percent)


def section(pairs: Sequence[Pair]) -> Section | None:
    """Return the section on movement; None if no pair has the record."""
    items = measured(pairs, "movement")
    if not items:
        return None
    findings = [finding for item in items for finding in (_distance(item), _alignment(item))]
    findings += [
        contrast_finding(subject, reference, one)
        for subject, reference in rivals(items)
        for one in (RELATIVE, ALIGNMENT)
    ]
    isotropic = {f"isotropic {item.name}": lambda layer, item=item: _isotropic(item, layer) for item in items}
    return Section(
        name="movement",
        title="Distance from the start",
        about="The relative distance is the length of a layer's change over the length of its kernels at the start. "
        "Refocusing multiplies gradients by the Gram of the base kernels, so its movement should be aligned with the "
        "patterns that these share: an alignment of 1 is a movement that knows no direction, larger is along them.",
        findings=tuple(findings),
        figures=(
            layer_figure(items, RELATIVE, caption="Length of the change over that of the start.", choice="measure"),
            layer_figure(
                items,
                ALIGNMENT,
                caption="Alignment of the change with the Gram of the start, 0 to the number of taps; 1 is isotropic.",
                guides=(Guide("x", 1, "isotropic"),),
                choice="measure",
            ),
            layer_figure(items, COSINE, caption="Cosine between the kernels before and after.", choice="measure"),
            layer_figure(
                items,
                LEADING,
                caption="Share of the squared change in the fewest patterns that hold half of the Gram's trace; the "
                "table has what an isotropic movement would have there.",
                choice="measure",
                more=isotropic,
            ),
        ),
        notes=_notes(pairs, items),
    )


def _isotropic(item: Measured, layer: str) -> str:
    row = row_of(item, layer)
    return percent(row.leading_isotropic if row else None)


def _distance(item: Measured) -> Finding:
    record = item.record
    relative = record.relative
    if relative is None:
        return Finding(item.name, "The kernels of the start are all zero: no distance can be told.", "unclear")
    rows = [row for row in record.layers if row.relative is not None]
    farthest = max(rows, key=lambda row: row.relative)
    change: Change = "different" if relative >= NEGLIGIBLE else "same"
    if relative == 0:
        return Finding(item.name, "No kernel moved.", change)
    text = f"The kernels moved by {percent(relative)} of their length, all together"
    if len(rows) > 1:
        text += f"; farthest moved {farthest.layer}, by {percent(farthest.relative)}"
    return Finding(item.name, f"{text}; the cosine with the start is {number(record.cosine, 4)}.", change)


def _alignment(item: Measured) -> Finding:
    """Compare the alignment of every layer with 1, that of an isotropic movement."""
    found = direction([(1.0 if (value := row.alignment) is not None else None, value) for row in item.record.layers])
    if found.after is None:
        return Finding(item.name, "Nothing moved, so there is no alignment.", "unclear")
    what = "The alignment" if found.layers == 1 else "The mean alignment"
    text = f"{what} is {number(found.after)}, where an isotropic movement has 1 ({tally(found, 'above', 'below')})."
    return Finding(item.name, text, as_change(found.way), found.p)


def _notes(pairs: Sequence[Pair], items: Sequence[Measured]) -> tuple[str, ...]:
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
        *((f"Alignment was measured on a sample of the blocks of {count(len(cut), 'layer')}.",) if cut else ()),
        *notes_on(pairs, items, "movement"),
    )
