"""How far each layer moved, and whether along the patterns that its base kernels share."""

from __future__ import annotations

from refconv.measures.direction import NEGLIGIBLE, as_change, direction, tally
from refconv.measures.findings import Change, Finding
from refconv.measures.layer_findings import contrast_finding
from refconv.measures.layers import Quantity, field
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict

RELATIVE = Quantity("relative distance", field("relative"), sides=False)

ALIGNMENT = Quantity("alignment with the Gram", field("alignment"), sides=False)


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


VERDICT = Verdict(
    "movement",
    findings=lambda item: (_distance(item), _alignment(item)),
    contrasts=lambda subject, reference: (contrast_finding(subject, reference, one) for one in (RELATIVE, ALIGNMENT)),
)
