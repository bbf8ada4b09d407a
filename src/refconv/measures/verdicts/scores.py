"""How well the models do a task other than classification."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from refconv.measures.findings import Finding
from refconv.measures.numbers import MINUS, count, number, percent
from refconv.measures.pairs import Measured
from refconv.measures.scores import Scores
from refconv.measures.verdicts.verdict import Verdict
from refconv.measures.wording import compared, course
from refconv.sentences import capital
from refconv.task_measures import TASKS, measures_of


@dataclass(frozen=True)
class Words:
    """How people call the measures of a task.

    Attributes:
        first: the measure to look at first.
        of_classes: what the same is called for one class; empty where there are no classes.
        titles: of all measures, the first one first.
        plain: measures that are numbers and no shares.
    """

    first: str
    of_classes: str
    titles: Mapping[str, str]
    plain: frozenset[str] = frozenset()

    def shown(self, name: str, value: float | None) -> str:
        """Return a value as the page shows it, with its unit."""
        if name not in self.plain:
            return percent(value, 2)
        return number(value, 4) + (" dB" if "psnr" in name and value is not None else "")


WORDS = {
    task: Words(said.primary.name, said.per_class, said.descriptions, said.numbers)
    for task in TASKS[1:]
    for said in [measures_of(task)]
}
"""Per task."""


def words_of(item: Measured) -> Words:
    """Return the words of a pair's task, for the measures that it has."""
    return _of_channel(WORDS[item.after.task], item.after.measures)


def _of_channel(words: Words, measures: Mapping[str, float]) -> Words:
    """Name the channel of measures of images: the one that the measures beside them are not of."""
    other = {"psnr_rgb": "luma", "psnr_luma": "RGB"}
    channel = next((name for known, name in other.items() if known in measures), None)
    if channel is None:
        return words
    named = {name: f"{words.titles[name]} of {channel}" for name in ("psnr", "ssim")}
    return replace(words, titles={**words.titles, **named})


def value_of(words: Words, record: Scores) -> float | None:
    """Return the first measure of the task; None if the record has none."""
    return record.measures.get(words.first)


def _finding(words: Words, item: Measured) -> Finding:
    def show(value: float | None) -> str:
        return words.shown(words.first, value)

    first, second = (value_of(words, side) for side in (item.before, item.after))
    title, samples = capital(words.titles[words.first]), count(item.after.samples, "sample")
    text = f"{title} {course(show, first, second)} on {samples}"
    if first is not None and first == second:
        return Finding(item.name, f"{text}.", "same")
    return Finding(item.name, f"{text}; one number for each model does not tell how much of it is chance.", "unclear")


def _classes(words: Words, item: Measured) -> Finding:
    changes = {
        name: item.after.classes[name] - value
        for name, value in item.before.classes.items()
        if value is not None and item.after.classes.get(name) is not None
    }
    if not changes:
        return Finding(item.name, f"No class has an {words.of_classes} in both models.", "unclear")
    up, down = sum(change > 0 for change in changes.values()), sum(change < 0 for change in changes.values())
    name = max(changes, key=lambda one: abs(changes[one]))
    text = (
        f"The {words.of_classes} rises in {up} and falls in {down} of {count(len(changes), 'class', 'classes')}; it "
        f"changes most for {name}, by {_points(changes[name])} points."
    )
    return Finding(item.name, text, "unclear" if up or down else "same")


def _points(value: float) -> str:
    return f"{100 * value:+.2f}".replace("-", MINUS)


def _contrast(words: Words, subject: Measured, reference: Measured) -> Finding:
    first, second = (value_of(words, item.after) for item in (subject, reference))
    if first is None or second is None:
        return Finding(subject.name, f"{capital(words.titles[words.first])} is not known for both.", "unclear")
    found = compared(lambda value: words.shown(words.first, value), reference.name, first, second)
    same = subject.after.samples == reference.after.samples
    text = f"With {subject.name} {words.titles[words.first]} is {found}{'' if same else ', on other samples'}."
    return Finding(subject.name, text, "same" if first == second else "unclear")


VERDICT = Verdict(
    "scores",
    findings=lambda item: (
        _finding(words_of(item), item),
        *([_classes(words_of(item), item)] if item.after.classes else []),
    ),
    contrasts=lambda subject, reference: (_contrast(words_of(subject), subject, reference),),
)
