"""The first screen: one table of all models, and the findings with the strongest evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refconv.measures.facts import SideFacts
from refconv.measures.findings import Finding
from refconv.measures.numbers import MISSING
from refconv.measures.paired_difference import wilson
from refconv.measures.pairs import ModelPair, Role
from refconv.report.elements import Section
from refconv.report.results import Result, result
from refconv.report.runs import certified, checks, duration

MOST = 5  # findings on the first screen


@dataclass(frozen=True)
class Row:
    """One model of the table: as many cells as the header has after the first."""

    role: Role
    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Key:
    """A finding on the first screen, with the name and the heading of its section."""

    section: str
    title: str
    finding: Finding


@dataclass(frozen=True)
class Overview:
    """The first screen: the table, the start first, and the strongest findings of so many measures."""

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    keys: tuple[Key, ...]
    measures: int


def overview(pairs: Sequence[ModelPair], sections: Sequence[Section]) -> Overview:
    """Return what the page begins with, given pairs of one start and all sections that follow."""
    found = [(result(pair), pair.facts) for pair in pairs]
    start = next(((one, facts) for one, facts in found if one.first is not None), None)
    first = _level(start[0], start[0].first, start[1].before) if start else MISSING
    rows = [Row("before", "base", (first, *(MISSING,) * 3))]
    for place, (one, facts) in enumerate(found):
        cells = (_level(one, one.second, facts.after), _difference(one), *_made(facts.after))
        rows.append(Row(place, pairs[place].name, cells))
    title = found[0][0].title
    header = ("model", f"{title} (95 % interval)", "difference (95 % interval)", "certificate", "training")
    return Overview(header, tuple(rows), keys(sections), len(sections))


def keys(sections: Sequence[Section]) -> tuple[Key, ...]:
    """Return the findings with the strongest evidence: smallest p first, changes for the better or worse before others.

    Only findings with a test count, and of each section the strongest one.
    """
    rank = {"better": 0, "worse": 0, "different": 1}
    found = []
    for section in sections:
        told = [finding for finding in section.findings if finding.p is not None and finding.change in rank]
        if told:
            # of equally strong ones the last: runs stand in the order given, and contrasts of runs after them
            best = min(reversed(told), key=lambda finding: (rank[finding.change], finding.p))
            found.append(Key(section.name, section.title, best))
    return tuple(sorted(found, key=lambda one: (rank[one.finding.change], one.finding.p))[:MOST])


def _level(found: Result, value: float | None, side: SideFacts) -> str:
    """Return a level, with Wilson's interval where it is a share of samples whose number is known."""
    if value is None:
        return "not known"
    level = found.level(value)
    samples = found.paired.samples if found.paired else side.training.test_samples if side.training else 0
    if found.words.primary.name != "top1" or not samples:
        return level
    low, high = wilson(round(value * samples), samples)
    return f"{level} ({found.level(low, '')} to {found.level(high, '')})"


def _difference(found: Result) -> str:
    if found.difference is None:
        return "not known"
    interval = f" ({found.interval})" if found.interval else ""
    return f"{found.change(found.difference)}{interval}"


def _made(side: SideFacts) -> tuple[str, str]:
    run = side.training
    if run is None:
        return "none on record", MISSING
    return certified(checks(run)), f"{duration(run.seconds)}, {run.parameters_trained:,} parameters"
