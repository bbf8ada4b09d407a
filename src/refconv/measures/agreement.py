"""Agreement: which samples and classes changed sides between two classifiers.

The records; what they are computed from is in ``analysis/agreement.py``.
"""

from __future__ import annotations

from dataclasses import dataclass

from refconv.measures.tables import text_table
from refconv.records import Record

SHOWN = 10
"""Rows of classes in the text."""


@dataclass(frozen=True)
class ChangedSample(Record):
    """A sample that two models put into different classes.

    Attributes:
        place: its number in the data, from 0.
        target: its class.
        before: the first model's class.
        after: the second's.
    """

    place: int
    target: int
    before: int
    after: int


@dataclass(frozen=True)
class ClassAgreement(Record):
    """How the samples of one class changed sides.

    Attributes:
        target: the class.
        samples: how many it has.
        before: how many of them the first model gets right.
        after: how many the second.
        gained: right only after.
        lost: right only before.
    """

    target: int
    samples: int
    before: int
    after: int
    gained: int
    lost: int


@dataclass(frozen=True)
class Agreement(Record):
    """Where two classifiers agree.

    Attributes:
        samples: how many were classified.
        cut: whether there were more that ``max_samples`` left out.
        both_right: how many both models get right.
        gained: right only after.
        lost: right only before.
        both_wrong: right in neither.
        same: share of samples put into the same class, right or wrong, 0 to 1.
        p: McNemar's exact two-sided p; 1 if no sample changed sides.
        classes: a row per class that occurs.
        changed: samples whose class differs between the models, in the order in which they came: all that gained or
            lost first, then those wrong in both; at most ``max_listed``.
        listed: how many of all such samples ``changed`` holds, 0 to 1; 1 if there are none.
    """

    samples: int
    cut: bool
    both_right: int
    gained: int
    lost: int
    both_wrong: int
    same: float
    p: float
    classes: tuple[ClassAgreement, ...]
    changed: tuple[ChangedSample, ...]
    listed: float

    @property
    def accuracy(self) -> tuple[float, float]:
        """Share of samples classified rightly, before and after."""
        return (self.both_right + self.lost) / self.samples, (self.both_right + self.gained) / self.samples

    def __str__(self) -> str:
        most = sorted(self.classes, key=lambda row: (-row.gained - row.lost, row.target))[:SHOWN]
        rows = [
            (
                str(row.target),
                f"{row.samples:,}",
                f"{row.before:,} -> {row.after:,}",
                f"{row.gained:,}",
                f"{row.lost:,}",
            )
            for row in most
        ]
        table = text_table(("class", "samples", "right", "gained", "lost"), rows)
        left = len(self.classes) - len(most)
        before, after = self.accuracy
        return (
            f"{table}\n{f'and {left} more classes' + chr(10) if left else ''}"
            f"accuracy {before:.2%} -> {after:.2%}: {self.gained:,} gained, {self.lost:,} lost, "
            f"McNemar's exact p = {self.p:.2g}; same class for {self.same:.1%} "
            f"of {self.samples:,} samples{' of more' if self.cut else ''}"
        )
