"""The verdicts of all measures: what records say of pairs of models, and how many samples it takes to say it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module

from refconv.measures.judging import Finding, Judgement
from refconv.measures.numbers import count
from refconv.measures.pairs import RECORDS, ModelPair
from refconv.measures.verdict import Verdict
from refconv.sentences import capital

VERDICTS: dict[str, Verdict] = {
    name: verdict
    for name, address in RECORDS.items()
    if (verdict := getattr(import_module(f"refconv.measures.{address.partition('.')[0]}"), name.upper(), None))
}
"""By the name of the measure, in the order of the page."""


def judgements(pairs: Sequence[ModelPair]) -> dict[str, Judgement]:
    """Return what the records of pairs of one start say, by measure; those on too few samples judge nothing."""
    found = {}
    for name, verdict in VERDICTS.items():
        if judgement := verdict(pairs):
            found[name] = weighed(judgement, pairs, (name, *verdict.more)) or judgement
    return found


CHANGED = 6
"""The fewest samples whose changes can all go one way by no accident: 2 / 2 ** 6 is below 0.05, 2 / 2 ** 5 is not."""

SHARE = 0.1  #: Of all samples: the change of a share that a report has to be able to see
FEWEST = round(CHANGED / SHARE)
"""Samples, 60: with fewer, even a change of ten points, all of it one way, passes for chance."""

NOTE = (
    f"{count(FEWEST, 'sample')} are the fewest of which a change of {100 * SHARE:.0f} % can be told from chance: "
    f"{CHANGED} changes, all one way. Numbers of fewer are shown and not judged."
)
"""What is said beside numbers of fewer."""


def few(samples: int) -> str:
    """Return what is said of samples that are too few; empty if they are not."""
    return "" if samples >= FEWEST else f"too few samples to say: {samples:,}, and it takes {FEWEST}"


def weighed(found: Judgement, pairs: Sequence[ModelPair], measures: Sequence[str]) -> Judgement | None:
    """Return a judgement that judges nothing if records of these measures are of too few samples; None if not."""
    why = few(min((number for pair in pairs for name in measures for number in _samples(pair, name)), default=FEWEST))
    if not why:
        return None
    said = f"{capital(why)}."
    names = dict.fromkeys(finding.pair for finding in found.findings)
    claim = found.claim and replace(found.claim, verdicts=dict.fromkeys(found.claim.verdicts, ("undecided", said)))
    return Judgement(tuple(Finding(name, said, "unclear") for name in names), claim)


def _samples(pair: ModelPair, name: str) -> list[int]:
    """Return how many samples a pair's records of a measure are of; nothing for records of weights."""
    records = [pair.record(name), *(pair.sides(name) or ())]
    found = [getattr(getattr(record, "conditions", record), "samples", None) for record in records if record]
    return [number for number in found if number is not None]
