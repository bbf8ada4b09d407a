"""How well the models of a pair do their task, before and after, and how two pairs differ in that.

Both are told of a whole evaluation split. Where both models classified all of it, the difference has an interval and a
test; where only the records of the runs tell, there are two numbers and no interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from refconv.measures.judging import PairedDifference, counts, paired_difference
from refconv.measures.numbers import MINUS, count
from refconv.measures.pairs import ModelPair
from refconv.measures.verdicts import few
from refconv.sentences import capital
from refconv.task_measures import TASKS, Measure, TaskMeasures, measures_of

_LIMIT = 0.05  # of McNemar's p
_APART = 0.5  # samples by which an analysis and a run may differ: none
ONE_SEED = "With one seed of each that is a number and no verdict on the methods; refconv compare gives one."
_SINGLE = "one number for each model does not tell what is chance"
_EARLIER = {"psnr": measures_of("restoration").primary.note}  # how earlier versions computed what they do not say


@dataclass(frozen=True)
class Result:
    """What came out between two models, the first and the second, in the primary measure of their task.

    None is not known. `paired` has interval and test, where the same samples went through both models; else `why_not`
    says why there are none, in half a sentence. `how` says how the measure was computed, where the records do.
    """

    name: str
    task: str
    first: float | None
    second: float | None
    paired: PairedDifference | None = None
    why_not: str = ""
    how: str = ""

    @property
    def words(self) -> TaskMeasures:
        """What the task measures, and how text speaks of it."""
        return measures_of(self.task)

    @property
    def title(self) -> str:
        """The measure in words, with the first ones of how it was computed."""
        how = f" ({self.how.partition(',')[0]})" if self.how else ""
        return f"{self.words.primary.description}{how}"

    @property
    def difference(self) -> float | None:
        """The second value less the first; None where one is not known."""
        if self.paired is not None:
            return self.paired.difference
        return None if self.first is None or self.second is None else self.second - self.first

    @property
    def interval(self) -> str:
        """The bounds in words, with the unit of differences left to the context; empty if there are none."""
        paired = self.paired
        return f"{self.change(paired.low, '')} to {self.change(paired.high, '')}" if paired else ""

    def level(self, value: float | None, unit: str | None = None) -> str:
        """Return a value as the page shows it, with its unit unless another is given."""
        return _level(self.words.primary, value or 0.0, unit)

    def change(self, value: float | None, unit: str | None = None) -> str:
        """Return a difference as the page shows it, with its sign and its unit unless another is given."""
        said = self.words.primary.shown(value or 0.0, signed=True)
        return (said + (self.words.primary.unit if unit is None else unit)).replace("-", MINUS)

    @property
    def headline(self) -> str:
        """The result in one line."""
        if self.first is None and self.second is None:
            return f"{self.title} {self.conclusion}: {self.why_not}"
        if self.difference is None:
            before = self.second is None
            value, known, missing = (self.first, "before", "after") if before else (self.second, "after", "before")
            return f"{self.title} {self.level(value)} {known}, not known {missing}: {self.why_not}"
        interval = f" (95 % interval {self.interval})" if self.paired is not None else ""
        levels = f"{self.level(self.first)} to {self.level(self.second)}"
        return f"{self.title} from {levels}, {self.change(self.difference)}{interval}: {self.conclusion}"

    @property
    def brief(self) -> str:
        """The same for a reader who has the numbers before them."""
        if self.paired is None:
            return self.headline
        return f"{self.conclusion} ({_sides(self, self.paired)}, McNemar's p {p_value(self.paired.p)})"

    @property
    def conclusion(self) -> str:
        """In a few words, whether these very models differ: interval and test both say so, on samples enough."""
        if self.difference is None:
            return "not known"
        if self.paired is None:
            return "equal" if self.difference == 0 else "no verdict, as there is one number for each model"
        if why := few(self.paired.samples):
            return why
        if not (self.paired.excludes_zero and self.paired.p < _LIMIT):
            return "no difference that these samples can show"
        return f"{self.words.better if self.difference > 0 else self.words.worse} on these {self.words.samples}s"


def _level(measure: Measure, value: float, unit: str | None = None) -> str:
    return (measure.shown(value) + (f" {measure.scale.unit}".rstrip() if unit is None else unit)).replace("-", MINUS)


def result(pair: ModelPair) -> Result:
    """Return what a pair's records say of its models' task, on a whole evaluation split and never on a part of one.

    What the runs recorded on their test split comes first. An analysis counts where it was on all samples of its split;
    then the same samples went through both models, and the difference has an interval. It has none where the analysis
    came to other values than the runs.
    """
    task = pair.facts.task if pair.facts.task in TASKS else TASKS[0]
    name = measures_of(task).primary.name
    sides = (pair.facts.before.training, pair.facts.after.training)
    first, second = (run.measure(name) if run else None for run in sides)
    whole = _whole(pair, task)
    if whole is not None and _fits(pair, whole, first, second):
        return whole
    ways = [run.definitions.get(name, "") if run else "" for run in sides]
    how = ways[0] if second is None else ways[1]
    if None not in (first, second) and len({way or _EARLIER.get(name, "") for way in ways}) > 1:
        said = " and ".join(way or "without saying how" for way in ways)
        return Result(pair.name, task, None, second, None, f"the two runs measured it in different ways ({said})", how)
    why_not = "both values are those of the runs' own tests, sample by sample they were not compared"
    if whole is not None and _same_split(pair):
        levels = " and ".join(map(whole.level, (whole.first, whole.second)))
        why_not = f"the analysis of the same split found {levels}, not what the runs recorded"
    elif first is None or second is None:
        unknown = [side for side, value in (("before", first), ("after", second)) if value is None]
        why_not = f"no test of the model {' and of the one '.join(unknown)} on the whole split is on record"
        why_not += f"; {_remedy(pair)}"
    return Result(pair.name, task, first, second, None, why_not, how)


def _remedy(pair: ModelPair) -> str:
    """Say what would test both models on the whole split, or why these two cannot be."""
    if pair.facts.data is not None:
        return "report (or analyze) without --samples, and with --seconds for long enough, tests both on all samples"
    reason = next((pair.facts.left_out[name] for name in ("agreement", "scores") if name in pair.facts.left_out), None)
    return reason or "report without --weights, or analyze with --data, tests both"


def course(pair: ModelPair) -> str:
    """Say from where to where training led by what the run measured on a few samples outside of the test split."""
    found = pair.facts.after.training and pair.facts.after.training.course
    primaries = [measures_of(task).primary for task in TASKS]
    measure = next((one for one in primaries if found and one.name == found.measure), None)
    if not found or measure is None or found.end is None:
        return ""
    split = {"val": "validation", "train": "training"}.get(found.split, found.split)
    levels = f"from {_level(measure, found.start)} to {_level(measure, found.end)}"
    return f"{measure.description} {levels} on {count(found.samples, f'{split} sample')}"


def _whole(pair: ModelPair, task: str) -> Result | None:
    """Return what an analysis of a whole split found; None if there is none, or it was of a part."""
    agreed, name = pair.record("agreement"), measures_of(task).primary.name
    if agreed is not None and name == "top1" and not agreed.cut:
        found = counts(agreed)
        return Result(pair.name, task, found.first, found.second, found)
    scored = pair.sides("scores")
    if scored is None or any(side.cut or name not in side.measures for side in scored):
        return None
    first, second = (side.measures[name] for side in scored)
    return Result(pair.name, task, first, second, None, _SINGLE)


def _fits(pair: ModelPair, whole: Result, first: float | None, second: float | None) -> bool:
    """Return whether an analysis can stand for the records of runs: they say nothing, or the same of the same split."""
    recorded = [(value, found) for value, found in ((first, whole.first), (second, whole.second)) if value is not None]
    if not _same_split(pair):
        return not recorded
    if whole.paired is None:
        return len(recorded) < 2
    apart = _APART / whole.paired.samples
    return all(found is not None and abs(value - found) < apart for value, found in recorded)


def _same_split(pair: ModelPair) -> bool:
    """Return whether the analysis was on the test split of the later model's run."""
    data, run = pair.facts.data, pair.facts.after.training
    return data is not None and data.split == "test" and run is not None and data.name == run.data


def contrasts(pairs: Sequence[ModelPair]) -> list[Result]:
    """Return what the second model of each other pair does beyond that of the first plainly trained, or the first."""
    if len(pairs) < 2:
        return []
    reference = next((pair for pair in pairs if pair.facts.after.trained_by == "plain"), pairs[0])
    return [contrast(reference, pair) for pair in pairs if pair is not reference]


def contrast(one: ModelPair, other: ModelPair) -> Result:
    """Compare the second models of two pairs with one start.

    Their paired table follows exactly from the samples that changed sides against the common start, which the records
    name: one that changed in neither pair, or in both alike, tells nothing between the two.
    """
    first, second = result(one), result(other)
    name = f"{other.name} against {one.name}"
    why_not = _incomparable(one, other)
    if why_not:
        return Result(name, first.task, first.second, second.second, None, why_not, first.how)
    (gained, lost), (then_gained, then_lost) = _moved(one), _moved(other)
    more = len(then_gained - gained) + len(lost - then_lost)
    less = len(gained - then_gained) + len(then_lost - lost)
    record = one.record("agreement")
    both = record.both_right + record.gained - less
    found = paired_difference(both, more, less, record.samples - both - more - less)
    return Result(name, first.task, found.first, found.second, found)


def _moved(pair: ModelPair) -> tuple[frozenset[int], frozenset[int]]:
    """Return the places of the samples that only the second model gets right, and of those that only the first does."""
    rows = pair.record("agreement").changed
    gained = frozenset(row.place for row in rows if row.after == row.target)
    return gained, frozenset(row.place for row in rows if row.before == row.target)


def _incomparable(one: ModelPair, other: ModelPair) -> str:
    """Return why two pairs' samples cannot be paired; empty if they can."""
    records = [pair.record("agreement") for pair in (one, other)]
    if any(record is None or result(pair).paired is None for record, pair in zip(records, (one, other), strict=True)):
        return "the models were not compared sample by sample"
    data = {(facts.name, facts.split) if (facts := pair.facts.data) else None for pair in (one, other)}
    if len(data) > 1 or len({(record.samples, record.both_right + record.lost) for record in records}) > 1:
        return "the two were not measured on the same samples"
    for pair, record in zip((one, other), records, strict=True):
        named, changed = tuple(map(len, _moved(pair))), (record.gained, record.lost)
        if named != changed:
            return f"the record of {pair.name} names {sum(named):,} of {sum(changed):,} samples that changed sides"
    return ""


def sentence(found: Result, samples: str) -> str:
    """Say what came of a pair in a sentence; `samples` says what the data are: ``samples of fashion-mnist (test)``."""
    title = capital(found.title)
    if found.first is None and found.second is None:
        return f"{title} is not known: {found.why_not}."
    if found.difference is None:
        known, value = ("before", found.first) if found.second is None else ("after", found.second)
        return f"{title} {known}: {found.level(value)}; {found.why_not}."
    levels = f"{found.level(found.first)} before and {found.level(found.second)} after"
    if found.paired is None:
        return f"{title} was {levels}: {found.change(found.difference)}. There is no interval: {found.why_not}."
    on = f"on the same {found.paired.samples:,} {samples}"
    return f"{title} was {levels}: {_judged(found, found.paired)} {on}: {_sides(found, found.paired)}."


def contrast_sentence(found: Result) -> str:
    """Say in a sentence how the second models of two pairs differ."""
    if found.difference is None:
        return f"{found.name}: not comparable, as {found.why_not}."
    if found.paired is None:
        return f"{found.name}: {found.change(found.difference)}. There is no interval: {found.why_not}. {ONE_SEED}"
    return f"{found.name}: {_judged(found, found.paired)}; {_sides(found, found.paired)}. {ONE_SEED}"


def _judged(found: Result, paired: PairedDifference) -> str:
    change = found.change(paired.difference)
    return f"{change} (95 % interval {found.interval}, McNemar's exact p {p_value(paired.p)})"


def _sides(found: Result, paired: PairedDifference) -> str:
    return f"{count(paired.gained, found.words.samples)} gained, {paired.lost:,} lost"


def p_value(p: float) -> str:
    """Return a p-value with its sign of relation.

    Example:
        >>> p_value(0.0312), p_value(1e-9), p_value(1.0)
        ('= 0.031', '< 0.0001', '= 1')
    """
    return "< 0.0001" if p < 1e-4 else f"= {p:.2g}"
