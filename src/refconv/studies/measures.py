"""What a study compares: the measures of all tasks that run records hold."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from refconv.task_measures import Measure, compared_measures

__all__ = ["MEASURES", "Measure", "Measured", "measured", "value_of"]

MEASURES = compared_measures()
"""All measures by name, the primary one of each task first."""


class Measured(Protocol):
    """A record that holds measures."""

    def measure(self, name: str) -> float | None:
        """Return a measure by name; None if it was not taken."""


def value_of(record: Measured, measure: Measure) -> float:
    """Return a measure that a record is known to hold."""
    value = record.measure(measure.name)
    assert value is not None, measure.name
    return float(value)


def measured(records: Iterable[Measured]) -> tuple[Measure, ...]:
    """Return the measures that every one of some records holds, in the order of :data:`MEASURES`."""
    records = list(records)
    return tuple(
        measure
        for name, measure in MEASURES.items()
        if records and all(record.measure(name) is not None for record in records)
    )
