"""Which part of the input moves one unit deep in the network."""

from __future__ import annotations

from collections.abc import Sequence

from refconv.measures.findings import Change, Finding
from refconv.measures.numbers import number, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import compared, course

SAME = 0.01
"""Relative change of all radii up to which the field counts as the same; the record has no error."""


def _radii(item: Measured) -> Finding:
    rows = list(zip(item.after.shares, item.before.radii, item.after.radii, strict=True))
    words = [f"{percent(share, 0)} of the energy {course(number, first, second)}" for share, first, second in rows]
    change = _change(item.before.radii, item.after.radii)
    text = f"The radius in pixels that holds {', that of '.join(words)} (layer {item.after.layer})."
    return Finding(item.name, text, change)


def _change(before: Sequence[float], after: Sequence[float]) -> Change:
    close = all(abs(second - first) <= SAME * first for first, second in zip(before, after, strict=True))
    return "same" if close else "different"


def _contrast(subject: Measured, reference: Measured) -> Finding:
    mine, theirs = subject.after.radii, reference.after.radii
    middle = len(mine) // 2
    words = compared(number, reference.name, mine[middle], theirs[middle])
    share = percent(subject.after.shares[middle], 0)
    text = f"After {subject.name} the radius of {share} of the energy is, in pixels, {words}."
    return Finding(subject.name, text, _change(theirs, mine))


VERDICT = Verdict(
    "receptive_field",
    findings=lambda item: (_radii(item),),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
)
