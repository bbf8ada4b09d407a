"""What frozen features are good for, and which samples lie beside one another; the records and their verdicts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from refconv.measures.agreement import judged
from refconv.measures.judging import Difference, counts, share_error
from refconv.measures.layers import change_of
from refconv.measures.numbers import compared, count, course, fine_percent, percent, points
from refconv.measures.pairs import Measured
from refconv.measures.tables import Sampled, counted, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class ProbeScore(Record):
    """How many samples a classifier on frozen features gets right, before and after."""

    name: str  #: ``linear`` or ``nearest neighbours``
    both_right: int
    gained: int  #: right only after
    lost: int  #: right only before
    both_wrong: int

    @property
    def accuracy(self) -> tuple[float, float]:
        """Share of samples classified rightly, before and after."""
        samples = self.both_right + self.gained + self.lost + self.both_wrong
        return (self.both_right + self.lost) / samples, (self.both_right + self.gained) / samples


@dataclass(frozen=True)
class Probes(Sampled):
    """Classifiers trained on the frozen features of two models."""

    training_samples: int
    features: tuple[int, int]  #: numbers per sample, before and after
    neighbours: int  #: that vote
    scores: tuple[ProbeScore, ...]

    def __str__(self) -> str:
        right = ("accuracy", lambda row: " -> ".join(f"{share:.2%}" for share in row.accuracy))
        table = table_of(self.scores, ("probe", "name"), right, "gained", "lost")
        return f"{table}\ntrained on {self.training_samples:,} samples, tested on {counted(self)}"


def _probes_findings(item: Measured) -> Iterator[Said]:
    words = {"linear": "A linear classifier", "nearest neighbours": f"A vote of {item.record.neighbours} neighbours"}
    for score in item.record.scores:
        found = counts(score)
        text = (
            f"{words[score.name]} on frozen features: accuracy {course(fine_percent, found.first, found.second)} "
            f"({points(found.difference)} points, 95 % interval {points(found.low)} to {points(found.high)}, McNemar's "
            f"p = {found.p:.2g})."
        )
        yield text, judged(score.gained, score.lost), found.p


def _probes_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    for mine, theirs in zip(subject.record.scores, reference.record.scores, strict=True):
        one, other = mine.accuracy[1], theirs.accuracy[1]
        error = sum(share_error(side.accuracy[1], side_of.record.samples) ** 2
                    for side, side_of in ((mine, subject), (theirs, reference))) ** 0.5  # fmt: skip
        found = Difference(one - other, error)
        ends = compared(fine_percent, reference.name, one, other)
        yield f"After {subject.name} the {mine.name} probe gets {ends}.", found.judged(), found.p


PROBES = Verdict("probes", _probes_findings, _probes_contrasts)


@dataclass(frozen=True)
class Neighbourhood(Record):
    """Sets of nearest neighbours of one size."""

    size: int  #: neighbours of a sample
    kept: float  #: mean share of a sample's neighbours before that are its neighbours after, 0 to 1
    chance: float  #: the share that sets drawn at random would have in common


@dataclass(frozen=True)
class Neighbours(Sampled):
    """Which samples lie beside one another in the features of two models, by cosine."""

    sets: tuple[Neighbourhood, ...]
    nearest: ProbeScore  #: whether the nearest neighbour is of a sample's class

    def __str__(self) -> str:
        first, last = self.nearest.accuracy
        share = ("kept", lambda row: f"{row.kept:.1%}"), ("by chance", lambda row: f"{row.chance:.1%}")
        table = table_of(self.sets, ("neighbours", "size"), *share)
        return f"{table}\nnearest of the same class {first:.2%} -> {last:.2%}, over {counted(self)}"


def _neighbours_findings(item: Measured) -> Iterator[Said]:
    sets, found = item.record.sets[-1], counts(item.record.nearest)
    text = (
        f"Of {count(sets.size, 'nearest neighbour')} of a sample {percent(sets.kept)} stay on average (of sets drawn "
        f"at random {percent(sets.chance)})."
    )
    yield text, "same" if sets.kept == 1 else "different"
    text = (
        f"The share of samples whose nearest neighbour is of their class "
        f"{course(fine_percent, found.first, found.second)} (McNemar's p = {found.p:.2g})."
    )
    yield text, judged(item.record.nearest.gained, item.record.nearest.lost), found.p


def _neighbours_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = (item.record.sets[-1].kept for item in (subject, reference))
    text = f"After {subject.name} neighbours that stay are {compared(percent, reference.name, mine, theirs)}."
    yield text, change_of(theirs, mine)


NEIGHBOURS = Verdict("neighbours", _neighbours_findings, _neighbours_contrasts)
