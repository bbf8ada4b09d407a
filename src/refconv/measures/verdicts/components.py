"""Which patterns the slices of one kernel size share, and how far their distribution shifted."""

from __future__ import annotations

from typing import Any

from refconv.measures.direction import negligible
from refconv.measures.findings import Change, Finding
from refconv.measures.numbers import count, number, percent
from refconv.measures.pairs import Measured
from refconv.measures.verdicts.planes import times
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import compared, course

BEYOND = 2.0
"""Times the shift by chance from which on a shift counts as one."""

LEADING = 3
"""Components whose explained variance sentences add up."""

Size = tuple[int, ...]


def of_size(item: Measured, size: Size) -> Any:
    """Return what a record says of a kernel size; None if it does not hold it."""
    return next((row for row in item.record.sizes if tuple(row.kernel_size) == size), None)


def _shift(item: Measured, row: Any) -> Finding:
    shift, chance = row.shift, row.chance
    what = f"the {times(row.kernel_size)} kernels ({count(row.slices, 'slice')})"
    if shift == 0:
        return Finding(item.name, f"The patterns of {what} did not shift at all.", "same")
    text = f"The patterns of {what} shift by {number(shift)} nats; exchanged at random they shift by {number(chance)}"
    if shift > BEYOND * chance:
        return Finding(item.name, f"{text}, so the distribution changed.", "different")
    return Finding(item.name, f"{text}, so no change of the distribution can be told.", "unclear")


def _explained(item: Measured, row: Any) -> Finding:
    first, last = (sum(getattr(row, name)[:LEADING]) for name in ("explained_before", "explained_after"))
    taps = len(row.explained_before)
    leading = f"{LEADING} of {taps} components" if taps > LEADING else count(taps, "component")
    change: Change = "same" if negligible(first, last) else "different"
    text = (
        f"The variance of the {times(row.kernel_size)} kernels that the first {leading} explain "
        f"{course(percent, first, last)}."
    )
    return Finding(item.name, text, change)


def _contrast(subject: Measured, reference: Measured) -> Finding:
    """Compare the shifts of the kernel size of the most slices."""
    row = subject.record.sizes[0]
    size = tuple(row.kernel_size)
    other = of_size(reference, size)
    if other is None:
        text = f"{reference.name} has no {times(size)} kernels to compare with those of {subject.name}."
        return Finding(subject.name, text, "unclear")
    chance = max(row.chance, other.chance)
    told = abs(row.shift - other.shift) > chance
    ends = compared(lambda value: f"{number(value)} nats", reference.name, row.shift, other.shift)
    text = (
        f"From the start to {subject.name} the {times(size)} kernels shift by {ends}; "
        f"{'that is more than the' if told else 'the difference is no more than the'} {number(chance)} nats of chance."
    )
    if row.shift == other.shift:
        return Finding(
            subject.name, f"From the start to {subject.name} the {times(size)} kernels shift by {ends}.", "same"
        )
    return Finding(subject.name, text, "different" if told else "unclear")


VERDICT = Verdict(
    "components",
    findings=lambda item: (find(item, row) for row in item.record.sizes for find in (_shift, _explained)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
)
