"""How two classifiers agree, and whether they are as often right as they say; the records and their verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from refconv.measures.judging import SURENESS, Change, Claim, Difference, Support, counts, mcnemar, share_error
from refconv.measures.numbers import be, compared, count, course, fine_number, fine_percent, percent, points
from refconv.measures.pairs import Measured
from refconv.measures.tables import Sampled, counted, table_of
from refconv.measures.verdict import REFCONV, Said, Verdict, claim, worded
from refconv.records import Record

SHOWN = 10  #: Rows of classes in the text


@dataclass(frozen=True)
class ChangedSample(Record):
    """A sample that two models put into different classes."""

    place: int  #: its number in the data, from 0
    target: int  #: its class
    before: int  #: the first model's class
    after: int  #: the second's


@dataclass(frozen=True)
class ClassAgreement(Record):
    """How the samples of one class changed sides."""

    target: int  #: the class
    samples: int  #: how many it has
    before: int  #: how many of them the first model gets right
    after: int  #: how many the second
    gained: int  #: right only after
    lost: int  #: right only before


@dataclass(frozen=True)
class Agreement(Sampled):
    """Where two classifiers agree."""

    both_right: int  #: how many samples both models get right
    gained: int  #: right only after
    lost: int  #: right only before
    both_wrong: int  #: right in neither
    same: float  #: share of samples put into the same class, right or wrong, 0 to 1
    p: float  #: McNemar's exact two-sided p; 1 if no sample changed sides
    classes: tuple[ClassAgreement, ...]
    #: samples whose class differs between the models, in the order in which they came: all that gained or lost first,
    #: then those wrong in both; at most ``max_listed``
    changed: tuple[ChangedSample, ...]
    listed: float  #: how many of all such samples ``changed`` holds, 0 to 1; 1 if there are none

    @property
    def accuracy(self) -> tuple[float, float]:
        """Share of samples classified rightly, before and after."""
        return (self.both_right + self.lost) / self.samples, (self.both_right + self.gained) / self.samples

    def __str__(self) -> str:
        most = sorted(self.classes, key=lambda row: (-row.gained - row.lost, row.target))[:SHOWN]
        right = ("right", lambda row: f"{row.before:,} -> {row.after:,}")
        table = table_of(most, ("class", lambda row: str(row.target)), "samples", right, "gained", "lost")
        left = len(self.classes) - len(most)
        before, after = self.accuracy
        return (
            f"{table}\n{f'and {left} more classes' + chr(10) if left else ''}"
            f"accuracy {before:.2%} -> {after:.2%}: {self.gained:,} gained, {self.lost:,} lost, "
            f"McNemar's exact p = {self.p:.2g}; same class for {self.same:.1%} of {counted(self)}"
        )


LIMIT = 0.05  #: Of McNemar's p

_WORDS: dict[Change, str] = {
    "better": "More samples are right after than before, beyond chance",
    "worse": "Fewer samples are right after than before, beyond chance",
    "same": "As many samples are right after as before",
    "unclear": "The difference in right samples may be chance",
}


def judged(gained: int, lost: int) -> Change:
    """Return what a split of the samples that changed sides says."""
    if gained == lost:
        return "same"
    if mcnemar(gained, lost) >= LIMIT:
        return "unclear"
    return "better" if gained > lost else "worse"


def _agreement_findings(item: Measured) -> Iterator[Said]:
    found, same = counts(item.record), item.record.same
    text = (
        f"Accuracy {course(fine_percent, found.first, found.second)}: of "
        f"{count(found.samples, 'sample')} {found.gained:,} {be(found.gained)} right only after and {found.lost:,} "
        f"only before ({points(found.difference)} points, 95 % interval {points(found.low)} to {points(found.high)}, "
        f"McNemar's p = {found.p:.2g})."
    )
    yield text, _judged(item), found.p
    text = f"Before and after put {percent(same)} of the samples into the same class, right or wrong."
    yield text, "same" if same == 1 else "different"


def _agreement_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = (fine_percent(counts(item.record).second) for item in (subject, reference))
    text = f"{subject.name} gets {mine} of the samples, {reference.name} {theirs}"
    split = same_samples_difference(subject, reference)
    if split is None:
        yield f"{text}; sample by sample the two cannot be compared from these records.", "unclear"
        return
    wins, losses = split
    text += (
        f": {wins:,} {be(wins)} right only with {subject.name} and {losses:,} only with {reference.name} "
        f"(McNemar's p = {mcnemar(wins, losses):.2g})."
    )
    yield text, judged(wins, losses), mcnemar(wins, losses)


def _judged(item: Measured) -> Change:
    return judged(item.record.gained, item.record.lost)


def _against(subject: Measured, reference: Measured) -> Change:
    split = same_samples_difference(subject, reference)
    return "unclear" if split is None else judged(*split)


def same_samples_difference(subject: Measured, reference: Measured) -> tuple[int, int] | None:
    """Return how many samples only the first pair's result has right, and how many only the second's.

    Both pairs start from one model, so a sample that neither pair names as changed has the same class in both results.
    None if the pairs do not have one start and the same samples, or do not name all samples that changed.
    """
    first, second = subject.record, reference.record
    starts = [(record.both_right + record.lost, record.samples) for record in (first, second)]
    prints = {item.pair.facts.before.fingerprint for item in (subject, reference)}
    if starts[0] != starts[1] or len(prints) > 1 or first.listed < 1 or second.listed < 1:
        return None
    mine, theirs = ({row.place: row for row in record.changed} for record in (first, second))
    wins = losses = 0
    for place in mine.keys() | theirs.keys():
        row = mine.get(place) or theirs[place]
        rights = [(side[place].after if place in side else row.before) == row.target for side in (mine, theirs)]
        wins += rights[0] and not rights[1]
        losses += rights[1] and not rights[0]
    return wins, losses


def confusions(item: Measured) -> Counter[tuple[int, int]]:
    """Return by how many samples each confusion, a class taken for another, grew: come less left."""
    found: Counter[tuple[int, int]] = Counter()
    for row in item.record.changed:
        if row.before != row.target:
            found[row.target, row.before] -= 1
        if row.after != row.target:
            found[row.target, row.after] += 1
    return found


def _claim(items: Sequence[Measured]) -> Claim | None:
    """Return the claim on accuracy, which a part of the samples does not decide."""
    says = "Refocusing a pretrained model raises its accuracy."
    found = claim(says, REFCONV, items, lambda item: worded(_judged(item), _WORDS), _against)
    if found is None:
        return None
    undecided: dict[str, tuple[Support, str]] = {}
    for item in items:
        if item.record.cut and item.name in found.verdicts:
            part = count(item.record.samples, "sample")
            why = f"Only a part of the split was compared, {part}; accuracy is told by all of it."
            undecided[item.name] = "undecided", why
    return replace(found, verdicts={**found.verdicts, **undecided})


AGREEMENT = Verdict("agreement", _agreement_findings, _agreement_contrasts, _claim)


@dataclass(frozen=True)
class ReliabilityBin(Record):
    """Samples whose confidence lies in one bin, above ``low`` (the first bin includes it) up to ``high``."""

    low: float  #: lower bound
    high: float  #: upper bound
    samples: int
    confidence: float | None  #: their mean confidence; None without samples
    accuracy: float | None  #: share classified rightly; None without samples


@dataclass(frozen=True)
class Calibration(Sampled):
    """How far a classifier's confidence can be trusted."""

    bins: tuple[ReliabilityBin, ...]  #: the reliability diagram, by rising confidence
    ece: float  #: expected calibration error, 0 to 1
    mce: float  #: largest gap of a bin with samples, 0 to 1
    nll: float  #: mean negative log-likelihood in nats, 0 or more
    brier: float  #: mean Brier score, 0 to 2
    accuracy: float  #: share classified rightly
    confidence: float  #: mean confidence; above the accuracy in an overconfident model

    def __str__(self) -> str:
        bounds = ("confidence", lambda row: f"{row.low:.3g} to {row.high:.3g}")
        return (
            f"{table_of(filled(self), bounds, 'samples', ('mean confidence', 'confidence'), 'accuracy')}\n"
            f"ECE {self.ece:.2%}  MCE {self.mce:.2%}  NLL {self.nll:.4f}  Brier {self.brier:.4f}  "
            f"accuracy {self.accuracy:.2%} at confidence {self.confidence:.2%}  on {counted(self)}"
        )


def filled(record: Any) -> list[Any]:
    """Return the bins that have samples."""
    return [row for row in record.bins if row.samples]


def ece_error(record: Any) -> float:
    """Return the standard error of the ECE: bins count as independent, confidences as given.

    A bin of which all samples are right has an error, too.
    """
    errors = (row.samples * share_error(row.accuracy, row.samples) for row in filled(record))
    return math.hypot(*errors) / float(record.samples)


def _difference(first: Any, second: Any) -> Difference:
    return Difference(second.ece - first.ece, math.hypot(ece_error(first), ece_error(second)))


def _calibration_findings(item: Measured) -> Iterator[Said]:
    before, after = item.sides
    found = _difference(before, after)
    change = found.judged(lower=True)
    text = (
        f"The expected calibration error {course(fine_percent, before.ece, after.ece)} ({points(found.value)} points, "
        f"standard error {percent(found.error, 2).removesuffix(' %')}: {SURENESS[change]})."
    )
    yield text, change, found.p
    same = (before.nll, before.brier) == (after.nll, after.brier)
    doubt = "" if same else "; how much of that is chance the record does not tell"
    nll, brier = (course(fine_number, getattr(before, key), getattr(after, key)) for key in ("nll", "brier"))
    text = f"The negative log-likelihood {nll} nats, the Brier score {brier}, both better the lower{doubt}."
    yield text, "same" if same else "unclear"
    gaps = [side.confidence - side.accuracy for side in (before, after)]
    text = f"On average the model before {_sure(gaps[0])}, the one after {_sure(gaps[1])}."
    yield text, "same" if gaps[0] == gaps[1] else "different"


def _sure(gap: float) -> str:
    size = points(abs(gap)).lstrip("+")
    if size == points(0).lstrip("+"):
        return "is neither over- nor underconfident"
    return f"is {size} points {'over' if gap > 0 else 'under'}confident"


def _calibration_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    found = _difference(reference.after, subject.after)
    change = found.judged(lower=True)
    words = compared(fine_percent, reference.name, subject.after.ece, reference.after.ece)
    yield f"{subject.name} ends at an ECE of {words} ({SURENESS[change]}).", change, found.p


CALIBRATION = Verdict("calibration", _calibration_findings, _calibration_contrasts)
