"""Whether shape or texture decides where the two say different things; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot

from refconv.measures.judging import Change, Difference, mcnemar, share_error
from refconv.measures.numbers import compared, count, course, percent
from refconv.measures.pairs import Measured
from refconv.measures.tables import Sampled, counted, short
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record


@dataclass(frozen=True)
class Cues(Record):
    """What one model decides for: numbers of samples put into the class of their shape, of their texture, neither."""

    shape: int
    texture: int
    neither: int

    @property
    def share(self) -> float | None:
        """Shape decisions over those for one of the two cues, 0 to 1; None if there are none."""
        decided = self.shape + self.texture
        return self.shape / decided if decided else None


@dataclass(frozen=True)
class CueConflict(Sampled):
    """Decisions of two models on samples whose shape is of one class and whose texture is of another."""

    before: Cues
    after: Cues
    to_shape: int  #: samples decided by texture before and by shape after
    to_texture: int  #: the other way round

    def __str__(self) -> str:
        first, last = self.before.share, self.after.share
        return (
            f"share of shape {short(first)} -> {short(last)}: {self.to_shape:,} from texture to shape, "
            f"{self.to_texture:,} back, over {counted(self)}"
        )


def _cues_findings(item: Measured) -> Iterator[Said]:
    record = item.record
    p, first, last = mcnemar(record.to_shape, record.to_texture), record.before.share, record.after.share
    change: Change = "same" if record.to_shape == record.to_texture else "different" if p < 0.05 else "unclear"
    text = (
        f"The share of shape in decisions for one of the two cues {course(percent, first, last)}: "
        f"{count(record.to_shape, 'sample')} went from texture to shape and {record.to_texture:,} back (McNemar's "
        f"p = {p:.2g})."
    )
    yield text, change, p


def _cues_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = subject.after, reference.after
    if mine.share is None or theirs.share is None:
        yield f"{subject.name} and {reference.name} cannot be compared: one of them decides for no cue.", "unclear"
        return
    error = hypot(*(share_error(side.share, side.shape + side.texture) for side in (mine, theirs)))
    found = Difference(mine.share - theirs.share, error)
    judged = found.judged()
    change: Change = "different" if judged in {"better", "worse"} else judged
    ends = compared(percent, reference.name, mine.share, theirs.share)
    yield f"After {subject.name} the share of shape is {ends}.", change, found.p


CUES = Verdict("cues", _cues_findings, _cues_contrasts)
