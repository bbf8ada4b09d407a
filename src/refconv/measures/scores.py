"""How well two models do a task other than classification, by the measures of the task; the record and its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from refconv.measures.numbers import compared, count, course, number, percent, points
from refconv.measures.pairs import Measured
from refconv.measures.tables import counted
from refconv.measures.verdict import Said, Verdict
from refconv.records import Record
from refconv.sentences import capital
from refconv.task_measures import measures_of


@dataclass(frozen=True)
class Scores(Record):
    """How well one model does its task."""

    task: str
    samples: int  #: how many samples that is; the same ones for both models of a pair
    cut: bool  #: whether the split has more
    measures: dict[str, float]  #: by name, as an evaluation of the task names them
    classes: dict[str, float | None]  #: the first measure for each class; None where it has none, empty without classes

    def __str__(self) -> str:
        return f"{', '.join(f'{name} {value:.4g}' for name, value in self.measures.items())} on {counted(self)}"


@dataclass(frozen=True)
class Words:
    """How people call the measures of a task."""

    first: str  #: the measure to look at first
    of_classes: str  #: what the same is called for one class; empty where there are no classes
    titles: Mapping[str, str]  #: of all measures, the first one first
    plain: frozenset[str] = frozenset()  #: measures that are numbers and no shares

    @property
    def title(self) -> str:
        """What the first measure is called."""
        return self.titles[self.first]

    def shown(self, name: str, value: float | None) -> str:
        """Return a value as the page shows it, with its unit."""
        if name not in self.plain:
            return percent(value, 2)
        return number(value, 4) + (" dB" if "psnr" in name and value is not None else "")

    def show(self, value: float | None) -> str:
        """Return a value of the first measure as the page shows it."""
        return self.shown(self.first, value)

    def value_of(self, record: Scores) -> float | None:
        """Return the first measure of the task; None if the record has none."""
        return record.measures.get(self.first)


def words_of(item: Measured) -> Words:
    """Return the words of a pair's task; measures of images name the channel that those beside them are not of."""
    own = measures_of(item.after.task)
    words = Words(own.primary.name, own.per_class, own.descriptions, own.numbers)
    other = {"psnr_rgb": "luma", "psnr_luma": "RGB"}
    channel = next((name for known, name in other.items() if known in item.after.measures), None)
    if channel is None:
        return words
    named = {name: f"{words.titles[name]} of {channel}" for name in ("psnr", "ssim")}
    return replace(words, titles={**words.titles, **named})


def _findings(item: Measured) -> Iterator[Said]:
    words = words_of(item)
    first, second = map(words.value_of, item.sides)
    text = f"{capital(words.title)} {course(words.show, first, second)} on {count(item.after.samples, 'sample')}"
    if first is not None and first == second:
        yield f"{text}.", "same"
    else:
        yield f"{text}; one number for each model does not tell how much of it is chance.", "unclear"
    if item.after.classes:
        yield _classes(words, item)


def _classes(words: Words, item: Measured) -> Said:
    changes = {
        name: item.after.classes[name] - value
        for name, value in item.before.classes.items()
        if value is not None and item.after.classes.get(name) is not None
    }
    if not changes:
        return f"No class has an {words.of_classes} in both models.", "unclear"
    up, down = sum(change > 0 for change in changes.values()), sum(change < 0 for change in changes.values())
    name = max(changes, key=lambda one: abs(changes[one]))
    text = (
        f"The {words.of_classes} rises in {up} and falls in {down} of {count(len(changes), 'class', 'classes')}; it "
        f"changes most for {name}, by {points(changes[name])} points."
    )
    return text, "unclear" if up or down else "same"


def _contrasts(subject: Measured, reference: Measured) -> Iterator[Said]:
    words = words_of(subject)
    first, second = (words.value_of(item.after) for item in (subject, reference))
    if first is None or second is None:
        yield f"{capital(words.title)} is not known for both.", "unclear"
        return
    found = compared(words.show, reference.name, first, second)
    elsewhere = "" if subject.after.samples == reference.after.samples else ", on other samples"
    yield f"With {subject.name} {words.title} is {found}{elsewhere}.", "same" if first == second else "unclear"


SCORES = Verdict("scores", _findings, _contrasts)
