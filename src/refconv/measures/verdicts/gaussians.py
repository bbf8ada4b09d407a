"""Which depthwise kernels differences of Gaussians fit."""

from __future__ import annotations

from refconv.measures.direction import as_change, tally
from refconv.measures.findings import Finding
from refconv.measures.layer_findings import contrast_finding, course_finding
from refconv.measures.layers import Quantity, course_of, field
from refconv.measures.numbers import count, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict

FITTING = Quantity("share of kernels that fit", field("fitting"), show=percent)

RESIDUAL = Quantity("median residual", field("residual"))


def _pooled(item: Measured) -> Finding:
    first, last = item.record.fitting
    kernels = sum(row.slices for row in item.record.layers)
    chance = ", ".join(f"{percent(share)} of {times(size)}" for size, share in item.record.chance.items())
    found = course_of(item, FITTING)
    text = (
        f"Of {count(kernels, 'depthwise kernel')} of 5 × 5 taps or more {percent(first)} fit before and "
        f"{percent(last)} after ({tally(found)}); of white noise {chance} would."
    )
    return Finding(item.name, text, as_change(found.way), found.p)


def times(text: str) -> str:
    """Return a kernel size as people write it."""
    return text.replace(" x ", " × ")


VERDICT = Verdict(
    "gaussians",
    findings=lambda item: (_pooled(item), course_finding(item, RESIDUAL)),
    contrasts=lambda subject, reference: (contrast_finding(subject, reference, FITTING),),
    has=lambda item: bool(item.record.layers),
)
