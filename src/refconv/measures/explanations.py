"""How faithful maps are that explain a classifier: insertion and deletion; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import hypot

from refconv.measures.judging import Difference, student
from refconv.measures.numbers import compared, course, fine_number, number
from refconv.measures.pairs import Measured
from refconv.measures.tables import Sampled, change, counted, table_of
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record

TITLES = {"grad_cam": "Grad-CAM", "grad_cam_plus": "Grad-CAM++", "occlusion": "occlusion", "random": "random order"}


@dataclass(frozen=True)
class Area(Record):
    """A mean area under a curve, 0 to 1, before and after, and the standard error of the paired difference."""

    before: float
    after: float
    error: float | None  #: None for a single sample


@dataclass(frozen=True)
class MapFaithfulness(Record):
    """How the score of a sample's class follows the pixels that one kind of map marks."""

    name: str  #: ``grad_cam``, ``grad_cam_plus``, ``occlusion``, or ``random`` for pixels in random order
    insertion: Area  #: pixels are put into a blank image, the most important first: high is faithful
    deletion: Area  #: pixels are taken away, the most important first: low is faithful
    gap: Area  #: insertion less deletion, -1 to 1: 0 where the order does not matter


@dataclass(frozen=True)
class Explanations(Sampled):
    """Insertion and deletion scores of the maps of two classifiers, each explaining samples' own classes."""

    layer_before: str  #: the layer whose map Grad-CAM reads in the first model
    layer_after: str
    steps: int  #: parts in which pixels come and go
    maps: tuple[MapFaithfulness, ...]

    def __str__(self) -> str:
        names = ("insertion", "deletion", "gap")
        areas = [(name, lambda row, name=name: change(*_ends(getattr(row, name)))) for name in names]
        return f"{table_of(self.maps, ('map', 'name'), *areas)}\nover {counted(self)}"


def _ends(area: Area) -> tuple[float, float]:
    return area.before, area.after


def _explanations_findings(item: Measured) -> Iterator[Said]:
    chance = next(row for row in item.record.maps if row.name == "random")
    for row in item.record.maps:
        if row is chance:
            continue
        found = Difference(row.gap.after - row.gap.before, row.gap.error, student(item.record.samples))
        text = (
            f"{TITLES[row.name]}: insertion less deletion {course(fine_number, *_ends(row.gap))}, with pixels in "
            f"random order {number(chance.gap.after)}; insertion {course(fine_number, *_ends(row.insertion))}, "
            f"deletion {course(fine_number, *_ends(row.deletion))}."
        )
        yield text[0].upper() + text[1:], found.judged(), found.p


def _explanations_contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    mine, theirs = subject.record.maps[0].gap, reference.record.maps[0].gap
    error = None if mine.error is None or theirs.error is None else hypot(mine.error, theirs.error)
    found = Difference(mine.after - theirs.after, error, student(min(subject.record.samples, reference.record.samples)))
    ends = compared(fine_number, reference.name, mine.after, theirs.after)
    yield f"After {subject.name} insertion less deletion of Grad-CAM is {ends}.", found.judged(), found.p


EXPLANATIONS = Verdict("explanations", _explanations_findings, _explanations_contrasts)
