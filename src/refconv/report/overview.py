"""The first screen: one table of all models, and the findings with the strongest evidence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from refconv.measures.findings import Finding
from refconv.measures.judging import wilson
from refconv.measures.numbers import MISSING
from refconv.measures.pairs import Pair, Role
from refconv.report import results
from refconv.report.certificate import checks, summary
from refconv.report.cost import duration
from refconv.report.elements import Section

MOST = 5
"""Findings on the first screen."""


@dataclass(frozen=True)
class Row:
    """One model of the table.

    Attributes:
        role: the shared start, or the place of the pair.
        name: what the model is called.
        cells: as many as :data:`HEADER` has after the first.
    """

    role: Role
    name: str
    cells: tuple[str, ...]


@dataclass(frozen=True)
class Key:
    """A finding on the first screen.

    Attributes:
        section: the name of its section, which is the anchor.
        title: the heading of the section.
        finding: the finding.
    """

    section: str
    title: str
    finding: Finding


@dataclass(frozen=True)
class Overview:
    """The first screen as plain data.

    Attributes:
        header: a name per column.
        rows: the start, then a row per pair.
        keys: the findings with the strongest evidence, at most :data:`MOST`, one of each section.
        measures: how many measures were looked through for them.
    """

    header: tuple[str, ...]
    rows: tuple[Row, ...]
    keys: tuple[Key, ...]
    measures: int


def overview(pairs: Sequence[Pair], sections: Sequence[Section]) -> Overview:
    """Return what the page begins with.

    Args:
        pairs: one or more, of one start.
        sections: all that follow on the page.
    """
    found = [results.result(pair) for pair in pairs]
    start = next(((one, pair) for one, pair in zip(found, pairs, strict=True) if one.first is not None), None)
    cells = (MISSING,) * 3
    first = _level(start[0], start[0].first, start[1].facts["before"]) if start else MISSING
    rows = [Row("before", "base", (first, *cells))]
    rows += [
        Row(place, pair.name, (_level(one, one.second, pair.facts["after"]), _difference(one), *_made(pair)))
        for place, (one, pair) in enumerate(zip(found, pairs, strict=True))
    ]
    measure = found[0].measure
    header = ("model", f"{measure.title} (95 % interval)", "difference (95 % interval)", "certificate", "training")
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


def _level(found: results.Result, value: float | None, side: Mapping[str, Any]) -> str:
    """Return a level, with Wilson's interval where it is a share of samples whose number is known."""
    if value is None:
        return "not known"
    level = found.measure.level(value)
    samples = found.paired.samples if found.paired else (side.get("run") or {}).get("test_samples")
    if found.measure.name != "top1" or not samples:
        return level
    low, high = (found.measure.level(bound) for bound in wilson(round(value * samples), samples))
    return f"{level} ({low.removesuffix(found.measure.unit)} to {high.removesuffix(found.measure.unit)})"


def _difference(found: results.Result) -> str:
    if found.difference is None:
        return "not known"
    interval = f" ({found.interval})" if found.interval else ""
    return f"{found.measure.change(found.difference)}{interval}"


def _made(pair: Pair) -> tuple[str, str]:
    run = pair.facts["after"].get("run")
    if not run:
        return "none on record", MISSING
    return summary(checks(run)), f"{duration(run['seconds'])}, {run['parameters_trained']:,} parameters"
