"""How well the models of a pair do their task, before and after, and how two pairs differ in that.

Both are told of a whole evaluation split. Where both models classified all of it, the difference has an interval and a
test; where only the records of the runs tell, there are two numbers and no interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from refconv.measures.judging import PairedDifference, paired_difference
from refconv.measures.numbers import MINUS, count
from refconv.measures.pairs import Pair
from refconv.measures.verdicts import few
from refconv.sentences import capital
from refconv.task_measures import TASKS, measures_of

_LIMIT = 0.05
"""Of McNemar's p."""


@dataclass(frozen=True)
class Measure:
    """What a task is judged by.

    Attributes:
        name: as run records call it.
        title: as people do.
        unit: of levels, with the space before it.
        difference: unit of differences, the same.
        factor: what a recorded value is multiplied by to be shown.
        samples: what the test data consist of.
        better: the comparative for a model with more of it.
        worse: for one with less.
    """

    name: str
    title: str
    unit: str
    difference: str
    factor: float
    samples: str
    better: str
    worse: str

    def level(self, value: float) -> str:
        """Return a level as the page shows it.

        Example:
            >>> MEASURES["classification"].level(0.9123)
            '91.23 %'
        """
        return f"{self.factor * value:.2f}{self.unit}".replace("-", MINUS)

    def change(self, value: float, unit: bool = True) -> str:
        """Return a difference as the page shows it, with its sign.

        Example:
            >>> MEASURES["classification"].change(-0.0012)
            '−0.12 points'
        """
        return f"{self.factor * value:+.2f}{self.difference if unit else ''}".replace("-", MINUS)


def _measure(task: str) -> Measure:
    said = measures_of(task)
    first = said.primary
    unit = f" {first.scale.unit}"
    return Measure(first.name, first.description, unit, first.unit, first.factor, said.samples, said.better, said.worse)


MEASURES = {task: _measure(task) for task in TASKS}
"""The first measure of each task."""


@dataclass(frozen=True)
class Result:
    """What came out between two models, the first and the second.

    Attributes:
        name: what the row is called.
        measure: what was measured.
        first: its value in the first model; None if that is not known.
        second: in the second.
        paired: the same with interval and test, where the same samples went through both models.
        why_not: why there is no interval, in half a sentence; empty where there is one.
    """

    name: str
    measure: Measure
    first: float | None
    second: float | None
    paired: PairedDifference | None = None
    why_not: str = ""

    @property
    def difference(self) -> float | None:
        """The second value less the first; None where one is not known."""
        if self.paired is not None:
            return self.paired.difference
        return None if self.first is None or self.second is None else self.second - self.first

    @property
    def interval(self) -> str:
        """The bounds in words, with the unit of differences left to the context."""
        if self.paired is None:
            return ""
        return f"{self.measure.change(self.paired.low, False)} to {self.measure.change(self.paired.high, False)}"


def result(pair: Pair) -> Result:
    """Return what a pair's records say of its models' task, on a whole evaluation split and never on a part of one.

    What the runs recorded on their test split comes first. An analysis counts where it was on all samples of its split;
    then the same samples went through both models, and the difference has an interval. It has none where the analysis
    came to other values than the runs.
    """
    measure = MEASURES.get(pair.facts.get("task") or "classification", MEASURES["classification"])
    whole = _whole(pair, measure)
    first, second = (_recorded(pair.facts[side].get("run"), measure.name) for side in ("before", "after"))
    if whole is not None and _fits(pair, whole, first, second):
        return whole
    ways = [_definition(pair, side, measure.name) for side in ("before", "after")]
    measure = _defined(measure, ways[1] if second is not None else ways[0])
    if None not in (first, second) and len({way or _EARLIER.get(measure.name, "") for way in ways}) > 1:
        said = " and ".join(way or "without saying how" for way in ways)
        return Result(pair.name, measure, None, second, None, f"the two runs measured it in different ways ({said})")
    why_not = "both values are those of the runs' own tests, sample by sample they were not compared"
    if whole is not None and _same_split(pair):
        levels = " and ".join(measure.level(value or 0.0) for value in (whole.first, whole.second))
        why_not = f"the analysis of the same split found {levels}, not what the runs recorded"
    elif first is None or second is None:
        why_not = _unknown(first, second)
    return Result(pair.name, measure, first, second, None, why_not)


_EARLIER = {"psnr": measures_of("restoration").primary.note}
"""How earlier versions computed measures of which their records do not say it."""


def _definition(pair: Pair, side: str, name: str) -> str:
    """Return how the run of a model computed a measure, if its record says so."""
    run = pair.facts[side].get("run") or {}
    said: str = (run.get("definitions") or {}).get(name, "")
    return said


def _defined(measure: Measure, words: str) -> Measure:
    """Return a measure whose title says how it was computed, in the first words of the definition."""
    return replace(measure, title=f"{measure.title} ({words.partition(',')[0]})") if words else measure


def course(pair: Pair) -> str:
    """Say from where to where training led by what the run itself measured on a few samples, never of the test split.

    Returns:
        The words, with samples and split; empty if the record has no such measurement.
    """
    found = (pair.facts["after"].get("run") or {}).get("course")
    measure = next((one for one in MEASURES.values() if found and one.name == found["measure"]), None)
    if not found or measure is None or found["end"] is None:
        return ""
    split = {"val": "validation", "train": "training"}.get(found["split"], found["split"])
    levels = f"from {measure.level(found['start'])} to {measure.level(found['end'])}"
    return f"{measure.title} {levels} on {count(found['samples'], f'{split} sample')}"


def _whole(pair: Pair, measure: Measure) -> Result | None:
    """Return what an analysis of a whole split found; None if there is none, or it was of a part."""
    agreed = pair.record("agreement")
    if agreed is not None and measure.name == "top1" and not agreed.cut:
        found = paired_difference(*(agreed.both_right, agreed.gained, agreed.lost, agreed.both_wrong))
        return Result(pair.name, measure, found.first, found.second, found)
    scored = pair.sides("scores")
    if scored is None or any(side.cut or measure.name not in side.measures for side in scored):
        return None
    first, second = (side.measures[measure.name] for side in scored)
    return Result(pair.name, measure, first, second, None, _SINGLE)


_SINGLE = "one number for each model does not tell what is chance"
_APART = 0.5
"""Samples by which an analysis and a run may differ: none."""


def _fits(pair: Pair, whole: Result, first: float | None, second: float | None) -> bool:
    """Return whether an analysis can stand for the records of runs: they say nothing, or the same of the same split."""
    recorded = [(value, found) for value, found in ((first, whole.first), (second, whole.second)) if value is not None]
    if not _same_split(pair):
        return not recorded
    if whole.paired is None:
        return len(recorded) < 2
    apart = _APART / whole.paired.samples
    return all(found is not None and abs(value - found) < apart for value, found in recorded)


def _same_split(pair: Pair) -> bool:
    """Return whether the analysis was on the test split of the later model's run."""
    data, run = pair.facts.get("data") or {}, pair.facts["after"].get("run") or {}
    return bool(data.get("split") == "test" and data.get("name") == run.get("data"))


def _unknown(first: float | None, second: float | None) -> str:
    """Return which model was not measured on a whole split, and what measures it."""
    sides = [side for side, value in (("before", first), ("after", second)) if value is None]
    return (
        f"no test of the model {' and of the one '.join(sides)} on the whole split is on record; report (or analyze) "
        "without --samples, and with --seconds for long enough, tests both on all samples"
    )


def _recorded(run: Mapping[str, Any] | None, name: str) -> float | None:
    if not run:
        return None
    value: float | None = run.get(name)
    return (run.get("measures") or {}).get(name) if value is None else value


def reference(pairs: Sequence[Pair]) -> int:
    """Return the place of the pair that others are compared with: the first trained plainly, else the first."""
    methods = [
        pair.facts["after"].get("method") or (pair.facts["after"].get("run") or {}).get("method") for pair in pairs
    ]
    return methods.index("plain") if "plain" in methods else 0


def contrasts(pairs: Sequence[Pair]) -> list[Result]:
    """Return, for every pair but the reference, what its second model does beyond the reference's second model."""
    if len(pairs) < 2:
        return []
    place = reference(pairs)
    return [contrast(pairs[place], pair) for i, pair in enumerate(pairs) if i != place]


def contrast(one: Pair, other: Pair) -> Result:
    """Compare the second models of two pairs with one start.

    Both met the same samples, and the records name those that changed sides against the common start; a sample that
    changed in neither pair, or in both alike, tells nothing between the two. So the paired table of the two second
    models follows exactly.
    """
    first, second = result(one), result(other)
    name = f"{other.name} against {one.name}"
    why_not = _incomparable(one, other)
    if why_not:
        return Result(name, first.measure, first.second, second.second, None, why_not)
    (gained, lost), (then_gained, then_lost) = _moved(one), _moved(other)
    more = len(then_gained - gained) + len(lost - then_lost)
    less = len(gained - then_gained) + len(then_lost - lost)
    record = one.record("agreement")
    both = record.both_right + record.gained - less
    found = paired_difference(both, more, less, record.samples - both - more - less)
    return Result(name, first.measure, found.first, found.second, found)


def _moved(pair: Pair) -> tuple[frozenset[int], frozenset[int]]:
    """Return the places of the samples that only the second model gets right, and of those that only the first does."""
    rows = pair.record("agreement").changed
    return (
        frozenset(row.place for row in rows if row.after == row.target),
        frozenset(row.place for row in rows if row.before == row.target),
    )


def _incomparable(one: Pair, other: Pair) -> str:
    """Return why two pairs' samples cannot be paired; empty if they can."""
    records = [pair.record("agreement") for pair in (one, other)]
    if any(record is None or result(pair).paired is None for record, pair in zip(records, (one, other), strict=True)):
        return "the models were not compared sample by sample"
    data = [{key: (pair.facts.get("data") or {}).get(key) for key in ("name", "split")} for pair in (one, other)]
    if data[0] != data[1] or len({(record.samples, record.both_right + record.lost) for record in records}) > 1:
        return "the two were not measured on the same samples"
    for pair, record in zip((one, other), records, strict=True):
        gained, lost = _moved(pair)
        if (len(gained), len(lost)) != (record.gained, record.lost):
            changed = record.gained + record.lost
            return (
                f"the record of {pair.name} names {len(gained) + len(lost):,} of {changed:,} samples that changed sides"
            )
    return ""


def sentence(found: Result, samples: str) -> str:
    """Say what came of a pair in a sentence.

    Args:
        found: the result.
        samples: what the data are, such as ``samples of fashion-mnist (test)``.
    """
    measure, difference = found.measure, found.difference
    title = capital(measure.title)
    if found.first is None and found.second is None:
        return f"{title} is not known: {found.why_not}."
    if difference is None:
        known = "before" if found.second is None else "after"
        value = found.first if found.second is None else found.second
        return f"{title} {known}: {measure.level(value or 0.0)}; {found.why_not}."
    levels = f"{measure.level(found.first or 0.0)} before and {measure.level(found.second or 0.0)} after"
    if found.paired is None:
        return f"{title} was {levels}: {measure.change(difference)}. There is no interval: {found.why_not}."
    return f"{title} was {levels}: {_judged(found)} on the same {found.paired.samples:,} {samples}: {_sides(found)}."


ONE_SEED = "With one seed of each that is a number and no verdict on the methods; refconv compare gives one."
"""Said of every difference between two methods."""


def contrast_sentence(found: Result) -> str:
    """Say in a sentence how the second models of two pairs differ."""
    if found.difference is None:
        return f"{found.name}: not comparable, as {found.why_not}."
    if found.paired is None:
        change = found.measure.change(found.difference)
        return f"{found.name}: {change}. There is no interval: {found.why_not}. {ONE_SEED}"
    return f"{found.name}: {_judged(found)}; {_sides(found)}. {ONE_SEED}"


def _judged(found: Result) -> str:
    assert found.paired is not None
    change = found.measure.change(found.paired.difference)
    return f"{change} (95 % interval {found.interval}, McNemar's exact p {p_value(found.paired.p)})"


def _sides(found: Result) -> str:
    assert found.paired is not None
    return f"{count(found.paired.gained, found.measure.samples)} gained, {found.paired.lost:,} lost"


def conclusion(found: Result) -> str:
    """Return what a result amounts to in a few words.

    These very models differ where interval and test both say so, on samples enough. Two single numbers decide nothing.

    Example:
        >>> measure = MEASURES["classification"]
        >>> conclusion(Result("a", measure, 0.5, 0.6, paired_difference(400, 200, 100, 300)))
        'more accurate on these samples'
    """
    if found.difference is None:
        return "not known"
    if found.paired is None:
        return "equal" if found.difference == 0 else "no verdict, as there is one number for each model"
    if why := few(found.paired.samples):
        return why
    if not (found.paired.excludes_zero and found.paired.p < _LIMIT):
        return "no difference that these samples can show"
    return f"{found.measure.better if found.difference > 0 else found.measure.worse} on these {found.measure.samples}s"


def p_value(p: float) -> str:
    """Return a p-value with its sign of relation.

    Example:
        >>> p_value(0.0312), p_value(1e-9), p_value(1.0)
        ('= 0.031', '< 0.0001', '= 1')
    """
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"
