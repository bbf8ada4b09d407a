"""How alike the features of two models are, layer by layer."""

from __future__ import annotations

from refconv.measures.findings import Change, Finding
from refconv.measures.numbers import count, number
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import compared

ALIKE = 0.98
"""CKA from which on features count as the same."""

CLOSE = 0.005
"""Difference of mean CKA up to which two pairs count as the same; the record has no error."""


def _mean(item: Measured) -> Finding:
    known = [row for row in item.record.layers if row.cka is not None]
    if not known:
        text = "CKA is defined in no layer: the features do not vary between the samples."
        return Finding(item.name, text, "unclear")
    least = min(known, key=lambda row: row.cka)
    change: Change = "same" if least.cka >= ALIKE else "different"
    if len(known) == 1:
        text = f"The features of {least.layer}, the only layer compared, agree with a CKA of {number(least.cka)}."
    else:
        text = (
            f"The features of {count(len(known), 'layer')} agree with a mean CKA of {number(item.record.mean)}; "
            f"least alike are those of {least.layer}, {number(least.cka)}."
        )
    return Finding(item.name, text, change)


def _contrast(subject: Measured, reference: Measured) -> Finding:
    mine, theirs = subject.record.mean, reference.record.mean
    if mine is None or theirs is None:
        text = f"{subject.name} and {reference.name} cannot be compared: one of them has no mean CKA."
        return Finding(subject.name, text, "unclear")
    others = _by_layer(reference)
    both = [(cka, others[layer]) for layer, cka in _by_layer(subject).items() if layer in others]
    farther = sum(one < other for one, other in both)
    layers = f"{farther} of {count(len(both), 'layer')}"
    text = (
        f"With the start {subject.name} has a mean CKA of {compared(number, reference.name, mine, theirs)}; its "
        f"features are farther from the start in {layers}."
    )
    return Finding(subject.name, text, "same" if abs(mine - theirs) <= CLOSE else "different")


def _by_layer(item: Measured) -> dict[str, float]:
    return {row.layer: row.cka for row in item.record.layers if row.cka is not None}


VERDICT = Verdict(
    "similarity",
    findings=lambda item: (_mean(item),),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
)
