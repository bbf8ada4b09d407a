"""How many samples it takes to say anything, and what a section says of fewer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from refconv.measures.findings import Finding
from refconv.measures.numbers import count
from refconv.measures.pairs import Pair
from refconv.report.elements import Section

CHANGED = 6
"""The fewest samples whose changes can all go one way by no accident: 2 / 2 ** 6 is below 0.05, 2 / 2 ** 5 is not."""

SHARE = 0.1
"""Of all samples: the change of a share that a report has to be able to see."""

FEWEST = round(CHANGED / SHARE)
"""Samples, 60: with fewer, even a change of ten points, all of it one way, passes for chance."""


def few(samples: int) -> str:
    """Return what is said of samples that are too few; empty if they are not.

    Example:
        >>> few(8), few(60)
        ('too few samples to say: 8, and it takes 60', '')
    """
    return "" if samples >= FEWEST else f"too few samples to say: {samples:,}, and it takes {FEWEST}"


def told(makes: Sequence[Callable[[Sequence[Pair]], Section | None]], pairs: Sequence[Pair]) -> tuple[Section, ...]:
    """Return the sections that pairs have records for; those measured on too few samples judge nothing.

    Args:
        makes: the sections, functions of all pairs.
        pairs: the pairs.
    """
    found = (make(pairs) for make in makes)
    return tuple(_judged(section, pairs) for section in found if section is not None)


def _judged(section: Section, pairs: Sequence[Pair]) -> Section:
    """Return a section without findings and verdicts where its records are of too few samples; numbers stay."""
    counts = [number for pair in pairs for name in section.records for number in _samples(pair, name)]
    why = few(min(counts, default=FEWEST))
    if not why:
        return section
    said = f"{why[0].upper()}{why[1:]}."
    claim = section.claim
    if claim is not None:
        claim = replace(claim, verdicts=dict.fromkeys(claim.verdicts, ("undecided", said)))
    names = dict.fromkeys(finding.pair for finding in section.findings)
    findings = tuple(Finding(name, said, "unclear") for name in names)
    note = (
        f"{count(FEWEST, 'sample')} are the fewest of which a change of {SHARE:.0%} can be told from chance: {CHANGED} "
        "changes, all one way. Numbers of fewer are shown and not judged."
    )
    return replace(section, findings=findings, claim=claim, notes=(*section.notes, note.replace("%", " %")))


def _samples(pair: Pair, name: str) -> list[int]:
    """Return how many samples a pair's records of a measure are of; nothing for records of weights."""
    records = [pair.record(name), *(pair.sides(name) or ())]
    found = [getattr(getattr(record, "conditions", record), "samples", None) for record in records if record]
    return [number for number in found if number is not None]
