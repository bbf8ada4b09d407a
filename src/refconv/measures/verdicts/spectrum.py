"""The Gram's spectrum of the start: how uneven the geometry of refocusing is."""

from __future__ import annotations

from refconv.measures.findings import Finding
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict


def _headline(item: Measured) -> Finding:
    record = item.record
    if record.condition is None or record.effective_share is None:
        return Finding(item.name, "The kernels of the start are all zero: refocusing cannot move them.", "same")
    rows = record.layers
    layer = "in its only layer" if len(rows) == 1 else "in the median layer"
    text = (
        f"A property of the start, the same before and after: {layer} the fastest pattern learns "
        f"{number(record.condition)} times as fast as the slowest when refocused, and the effective rank is "
        f"{percent(record.effective_share)} of the taps{'' if len(rows) == 1 else ' in the mean'}."
    )
    return Finding(item.name, text, "same")


VERDICT = Verdict("spectrum", findings=lambda item: (_headline(item),))
