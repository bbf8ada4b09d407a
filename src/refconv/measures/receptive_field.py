"""The effective receptive field: which part of the input moves one unit of a feature map; record and verdict."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from refconv.measures.findings import Change
from refconv.measures.numbers import compared, course, number, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import counted, short, text_table, times
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class ReceptiveField(Record):
    """What of the input moves the central unit of a layer.

    Attributes:
        layer: the module's name.
        map_shape: of the layer's output, per spatial dimension.
        unit: the position of the unit in it.
        input_shape: of the input, per spatial dimension.
        samples: over how many samples A is the mean.
        cut: whether there were more that ``max_samples`` left out.
        shares: shares of the energy A^2, ascending.
        radii: least distance in pixels from the energy's centre within which each share lies.
        centre: the energy's centre, in pixels from the first one.
        side: side in pixels of a square (cube, line) of as many positions as have an A above 4.55 % of the largest.
        extent: per dimension, pixels from the first to the last position that has any influence.
        values: A over its largest, averaged down to ``values_shape``, in row-major order.
        values_shape: at most ``max_map`` per dimension.
    """

    layer: str
    map_shape: tuple[int, ...]
    unit: tuple[int, ...]
    input_shape: tuple[int, ...]
    samples: int
    cut: bool
    shares: tuple[float, ...]
    radii: tuple[float, ...]
    centre: tuple[float, ...]
    side: float
    extent: tuple[int, ...]
    values: tuple[float, ...]
    values_shape: tuple[int, ...]

    def __str__(self) -> str:
        rows = [(f"{share:.0%}", radius) for share, radius in zip(self.shares, self.radii, strict=True)]
        return (
            f"{text_table(('share of the energy', 'radius in pixels'), rows)}\n"
            f"{self.layer}, unit {self.unit} of {times(self.map_shape)}: side {short(self.side)} pixels, "
            f"reaches {times(self.extent)} of {times(self.input_shape)}, over {counted(self)}"
        )


SAME = 0.01
"""Relative change of all radii up to which the field counts as the same; the record has no error."""


def _change(before: Sequence[float], after: Sequence[float]) -> Change:
    close = all(abs(second - first) <= SAME * first for first, second in zip(before, after, strict=True))
    return "same" if close else "different"


def _findings(item: Measured) -> Iterator[Said]:
    before, after = item.sides
    rows = list(zip(after.shares, before.radii, after.radii, strict=True))
    words = [f"{percent(share, 0)} of the energy {course(number, first, second)}" for share, first, second in rows]
    text = f"The radius in pixels that holds {', that of '.join(words)} (layer {after.layer})."
    yield text, _change(before.radii, after.radii)


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = subject.after.radii, reference.after.radii
    middle = len(mine) // 2
    words = compared(number, reference.name, mine[middle], theirs[middle])
    share = percent(subject.after.shares[middle], 0)
    yield f"After {subject.name} the radius of {share} of the energy is, in pixels, {words}.", _change(theirs, mine)


RECEPTIVE_FIELD = Verdict("receptive_field", _findings, _contrasts)
