"""The pairs that hold a record, each with its role in charts, and which of them is plain training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from refconv.report.charts import Role
from refconv.report.pairs import Pair

BEFORE = "before"
"""What the shared start is called."""


@dataclass(frozen=True)
class Measured:
    """One pair with one record.

    Attributes:
        role: its place among all pairs, and so its role in charts.
        pair: the pair.
        record: the record of both models, or ``before`` and ``after`` with the record of each.
    """

    role: int
    pair: Pair
    record: Any

    @property
    def name(self) -> str:
        """The pair's name."""
        return self.pair.name

    @property
    def before(self) -> Any:
        """What the record says of the earlier model."""
        return self.record["before"]

    @property
    def after(self) -> Any:
        """What the record says of the later model."""
        return self.record["after"]

    @property
    def plain(self) -> bool:
        """Whether the pair went from before to after by plain training."""
        side = self.pair.facts.get("after") or {}
        method = side.get("method") or (side.get("run") or {}).get("method") or self.name
        return bool(method == "plain")

    def class_name(self, place: int) -> str:
        """Return what class number `place` is called."""
        names = self.pair.facts.get("class_names") or ()
        return str(names[place]) if place < len(names) else f"class {place}"


def measured(pairs: Sequence[Pair], name: str) -> list[Measured]:
    """Return the pairs that have a record of this name, of both models or of each, in their order."""
    found = []
    for role, pair in enumerate(pairs):
        sides = pair.sides(name)
        record = pair.record(name) or (sides and {"before": sides[0], "after": sides[1]})
        if record:
            found.append(Measured(role, pair, record))
    return found


def role_names(items: Sequence[Measured], *, before: bool = True) -> dict[Role, str]:
    """Return what roles are called in charts: the start, if it is drawn, and the pairs."""
    start: dict[Role, str] = {"before": BEFORE} if before else {}
    return {**start, **{item.role: item.name for item in items}}


def models(items: Sequence[Measured]) -> list[tuple[Role, str, Any]]:
    """Return (role, name, record) of the shared start, as measured with the first pair, and of each pair's result."""
    return [("before", BEFORE, items[0].before), *((item.role, item.name, item.after) for item in items)]


def rivals(items: Sequence[Measured]) -> list[tuple[Measured, Measured]]:
    """Return who is to be compared with whom: every other pair with plain training, or with the first without such."""
    if len(items) < 2:
        return []
    reference = next((item for item in items if item.plain), items[0])
    return [(item, reference) for item in items if item is not reference]


def notes_on(pairs: Sequence[Pair], items: Sequence[Measured], name: str) -> tuple[str, ...]:
    """Return what is to be said of pairs without the record, and of a start that was not measured alike in all."""
    without = [pair for role, pair in enumerate(pairs) if role not in {item.role for item in items}]
    notes = [_missing(pair, name) for pair in without]
    if any(item.record.get("before") != items[0].record.get("before") for item in items):
        notes.append(f"The start was measured anew for each pair and came out differently; drawn is {items[0].name}'s.")
    return tuple(notes)


def _missing(pair: Pair, name: str) -> str:
    reason = (pair.facts.get("left_out") or {}).get(name)
    return f"{pair.name} was not measured{f': {reason}' if reason else ''}."
