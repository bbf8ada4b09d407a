"""Which samples and classes changed sides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from refconv.measures.findings import Change, Claim, Finding, Support
from refconv.measures.numbers import count, percent, points
from refconv.measures.paired_difference import PairedDifference, mcnemar, paired_difference
from refconv.measures.pairs import Measured
from refconv.measures.support import REFCONV, claim
from refconv.measures.verdicts.confusions import same_samples_difference
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import course

LIMIT = 0.05
"""Of McNemar's p."""

_WORDS: dict[Change, str] = {
    "better": "More samples are right after than before, beyond chance",
    "worse": "Fewer samples are right after than before, beyond chance",
    "same": "As many samples are right after as before",
    "unclear": "The difference in right samples may be chance",
}


def _claim(items: Sequence[Measured]) -> Claim | None:
    """Return the claim on accuracy, which a part of the samples does not decide."""
    found = claim("Refocusing a pretrained model raises its accuracy.", REFCONV, items, _change, _WORDS, _against)
    parts = {item.name: count(item.record.samples, "sample") for item in items if item.record.cut}
    if found is None:
        return None
    undecided: dict[str, tuple[Support, str]] = {
        name: ("undecided", f"Only a part of the split was compared, {parts[name]}; accuracy is told by all of it.")
        for name in found.verdicts
        if name in parts
    }
    return replace(found, verdicts={**found.verdicts, **undecided})


def counts(record: Any) -> PairedDifference:
    """Return the accuracies before and after with the interval of their difference."""
    return paired_difference(record.both_right, record.gained, record.lost, record.both_wrong)


def judged(gained: int, lost: int) -> Change:
    """Return what a split of the samples that changed sides says.

    Example:
        >>> judged(20, 2), judged(2, 20), judged(3, 3), judged(4, 3)
        ('better', 'worse', 'same', 'unclear')
    """
    if gained == lost:
        return "same"
    if mcnemar(gained, lost) >= LIMIT:
        return "unclear"
    return "better" if gained > lost else "worse"


def _change(item: Measured) -> Change:
    return judged(item.record.gained, item.record.lost)


def _accuracy(item: Measured) -> Finding:
    found = counts(item.record)
    text = (
        f"Accuracy {course(_share, found.first, found.second)}: of "
        f"{count(found.samples, 'sample')} {found.gained:,} {_is(found.gained)} right only after and {found.lost:,} "
        f"only before ({points(found.difference)} points, 95 % interval {points(found.low)} to {points(found.high)}, "
        f"McNemar's p = {found.p:.2g})."
    )
    return Finding(item.name, text, _change(item), found.p)


def _common(item: Measured) -> Finding:
    same = item.record.same
    text = f"Before and after put {percent(same)} of the samples into the same class, right or wrong."
    return Finding(item.name, text, "same" if same == 1 else "different")


def _contrast(subject: Measured, reference: Measured) -> Finding:
    mine, theirs = counts(subject.record), counts(reference.record)
    accuracies = f"{_share(mine.second)} of the samples, {reference.name} {_share(theirs.second)}"
    split = same_samples_difference(subject, reference)
    if split is None:
        text = f"{subject.name} gets {accuracies}; sample by sample the two cannot be compared from these records."
        return Finding(subject.name, text, "unclear")
    wins, losses = split
    text = (
        f"{subject.name} gets {accuracies}: {wins:,} {_is(wins)} right only with {subject.name} and {losses:,} only "
        f"with {reference.name} (McNemar's p = {mcnemar(wins, losses):.2g})."
    )
    return Finding(subject.name, text, judged(wins, losses), mcnemar(wins, losses))


def _against(subject: Measured, reference: Measured) -> Change:
    split = same_samples_difference(subject, reference)
    return "unclear" if split is None else judged(*split)


def _share(share: float | None) -> str:
    return percent(share, 2)


def _is(number: int) -> str:
    return "is" if number == 1 else "are"


VERDICT = Verdict(
    "agreement",
    findings=lambda item: (_accuracy(item), _common(item)),
    contrasts=lambda subject, reference: (_contrast(subject, reference),),
    claim=_claim,
)
