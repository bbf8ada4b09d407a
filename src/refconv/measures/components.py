"""Principal components that all slices of one kernel size share, and how far two models are apart in them.

The record and its verdict.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from refconv.measures.direction import negligible
from refconv.measures.numbers import compared, count, course, number, percent, times
from refconv.measures.pairs import Measured
from refconv.measures.tables import table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class SizeComponents(Record):
    """The slices of one kernel size in two models.

    Attributes:
        kernel_size: taps per dimension, product k.
        layers: how many layers have it.
        slices: how many slices they hold.
        sampled: how many of them were used, the same ones in both models.
        explained_before: explained variance ratio of each principal component of the first model's slices alone,
            descending, summing to 1.
        explained_after: the same of the second model.
        explained: of the shared components.
        components: the shared components of largest variance, unit vectors over the taps in row-major order; the sign
            is such that the largest entry is positive.
        shift: D between the two models, in nats, 0 or more.
        shift_of_components: KL(P_i || Q_i) + KL(Q_i || P_i) of every component.
        chance: D when before and after are exchanged for slices drawn at random, the mean of a few draws.
    """

    kernel_size: tuple[int, ...]
    layers: int
    slices: int
    sampled: int
    explained_before: tuple[float, ...]
    explained_after: tuple[float, ...]
    explained: tuple[float, ...]
    components: tuple[tuple[float, ...], ...]
    shift: float
    shift_of_components: tuple[float, ...]
    chance: float


@dataclass(frozen=True)
class FilterComponents(Record):
    """Shared components and shift per kernel size, the one of most slices first; ``seed``: of sample and exchanges."""

    sizes: tuple[SizeComponents, ...]
    seed: int

    def __str__(self) -> str:
        columns = {
            "kernel": "kernel_size",
            "slices": "slices",
            "explained by the first three, before": lambda row: _leading(row.explained_before),
            "after": lambda row: _leading(row.explained_after),
            "shift, nats": "shift",
            "by chance": "chance",
        }
        return table_of(self.sizes, columns)


def _leading(explained: tuple[float, ...]) -> str:
    return " ".join(f"{ratio:.1%}" for ratio in explained[:3])


BEYOND = 2.0
"""Times the shift by chance from which on a shift counts as one."""

LEADING = 3
"""Components whose explained variance sentences add up."""

Size = tuple[int, ...]


def of_size(item: Measured, size: Size) -> Any:
    """Return what a record says of a kernel size; None if it does not hold it."""
    return next((row for row in item.record.sizes if tuple(row.kernel_size) == size), None)


def _findings(item: Measured) -> Iterator[Said]:
    for row in item.record.sizes:
        what = f"the {times(row.kernel_size)} kernels ({count(row.slices, 'slice')})"
        shifts = f"shift by {number(row.shift)} nats; exchanged at random they shift by {number(row.chance)}"
        if row.shift == 0:
            yield f"The patterns of {what} did not shift at all.", "same"
        elif row.shift > BEYOND * row.chance:
            yield f"The patterns of {what} {shifts}, so the distribution changed.", "different"
        else:
            yield f"The patterns of {what} {shifts}, so no change of the distribution can be told.", "unclear"
        first, last = sum(row.explained_before[:LEADING]), sum(row.explained_after[:LEADING])
        taps = len(row.explained_before)
        leading = f"{LEADING} of {taps} components" if taps > LEADING else count(taps, "component")
        what = f"The variance of the {times(row.kernel_size)} kernels that the first {leading} explain"
        yield f"{what} {course(percent, first, last)}.", "same" if negligible(first, last) else "different"


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    """Compare the shifts of the kernel size of the most slices."""
    row = subject.record.sizes[0]
    size = tuple(row.kernel_size)
    other = of_size(reference, size)
    if other is None:
        yield f"{reference.name} has no {times(size)} kernels to compare with those of {subject.name}.", "unclear"
        return
    ends = compared(lambda value: f"{number(value)} nats", reference.name, row.shift, other.shift)
    text = f"From the start to {subject.name} the {times(size)} kernels shift by {ends}"
    chance = max(row.chance, other.chance)
    if row.shift == other.shift:
        yield f"{text}.", "same"
    elif abs(row.shift - other.shift) > chance:
        yield f"{text}; that is more than the {number(chance)} nats of chance.", "different"
    else:
        yield f"{text}; the difference is no more than the {number(chance)} nats of chance.", "unclear"


COMPONENTS = Verdict("components", _findings, _contrasts)
