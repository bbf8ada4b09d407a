"""From two models that a user names to an analysis: records of what changed, and the facts of what was analysed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import TimeRemainingColumn
from rich.table import Column

from refconv.analysis.batches import Batches, classify, observing
from refconv.analysis.evidence import open_evidence, open_examination
from refconv.analysis.pair_facts import read_facts, side_facts
from refconv.analysis.pairs import pair_kernels
from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES, Found
from refconv.engine.run_record import command, hardware, versions
from refconv.errors import RefconvError, RunError, SettingError
from refconv.measures.facts import FACTS_FILE, DataFacts, PairFacts, SideFacts
from refconv.models.opening import Opened, open_pair
from refconv.process import progress
from refconv.process.progress import column
from refconv.records import Record
from refconv.surgery import merge
from refconv.surgery.attach import transformed

SCORES = "scores"  #: What is measured with data of other models than classifiers: the measures of their task
SIDES = ("", "-before", "-after")
"""What follows the name of a measure in the name of a record: one of both models, or one of each."""


@dataclass(frozen=True, kw_only=True)
class AnalysisConfig:
    """What is asked about two models.

    Attributes:
        only: names of measures; empty for all.
        include: patterns of layers that measures of weights look at; empty for all.
        samples: samples that a measure takes at most; None: its own bound.
        seconds: time that a measure takes at most, about; None: no bound.
    """

    only: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    data: str | None = None
    data_dir: str | None = None
    class_map: str | None = None
    split: str = "test"
    samples: int | None = None
    seconds: float | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in (*WEIGHT_MEASURES, *DATA_MEASURES, SCORES):
                raise self._no_such(name)
        if self.split not in {"train", "val", "test"}:
            raise SettingError("unknown split", where="--split", expected="train, val or test", found=repr(self.split))
        if self.seconds is not None and not self.seconds > 0:
            raise SettingError("no time", where="--seconds", expected="above 0", found=f"{self.seconds:g}")

    def measures(self, task: str) -> tuple[str, ...]:
        """Return the names of the measures that are asked for, for models of a task, in the order of taking them."""
        possible = (*WEIGHT_MEASURES, *(with_data(task) if self.data is not None else ()))
        return tuple(name for name in possible if not self.only or name in self.only)

    def check_data(self) -> None:
        """Check that no measure is asked for by name that needs data, where there are none."""
        for name in self.only:
            if self.data is None and name not in WEIGHT_MEASURES:
                raise self._no_such(name, remedy="give --data")

    def _no_such(self, name: str, remedy: str | None = None) -> SettingError:
        known = [*WEIGHT_MEASURES, *(() if remedy else (*DATA_MEASURES, SCORES))]
        return SettingError("no such measure", where="--only", expected=", ".join(known), found=name, remedy=remedy)

    def source(self, samples: int | None) -> dict[str, Any]:
        """Return where the data come from and go to, as functions that open them take it."""
        where = {"root": self.data_dir, "class_map": self.class_map, "split": self.split, "device": self.device}
        return {**where, "samples": samples}

    def data_facts(self, couple: ModelPair) -> DataFacts | None:
        """Return the data as pair.json has it, with what the user says about the input of these models."""
        if self.data is None:
            return None
        flags = {name: str(value) for name, value in couple.opened[1].flags.items()}
        return DataFacts(self.data, self.split, self.samples, self.seconds, flags)


@dataclass(frozen=True)
class ModelPair:
    """Two models that were opened and are plain, the earlier first, and the facts of each."""

    opened: tuple[Opened, Opened]
    before: SideFacts
    after: SideFacts


@dataclass(frozen=True)
class Analysis:
    """What was found: records by the names of their files, without those of earlier measures that ``facts`` names."""

    facts: PairFacts
    records: Mapping[str, Record] = field(default_factory=dict)

    def write(self, folder: Path | str) -> None:
        """Write a JSON file per record, and pair.json last; records of measures that ``facts`` does not name go."""
        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
            (place / FACTS_FILE).unlink(missing_ok=True)
            for name in (*WEIGHT_MEASURES, *DATA_MEASURES, SCORES):
                if name not in self.facts.measured:
                    for side in SIDES:
                        (place / f"{name}{side}.json").unlink(missing_ok=True)
            for name, record in self.records.items():
                record.write(place / f"{name}.json")
            self.facts.write(place / FACTS_FILE)
        except OSError as error:
            raise RunError("cannot write the records", where=str(place), found=str(error)) from error


class Display(progress.Display):
    """Shows which measure runs, and the time left of it; ``title``: what is analysed, may be empty."""

    def __init__(self, title: str = "", **where: Any) -> None:
        left = TimeRemainingColumn(compact=True, table_column=Column(no_wrap=True))
        columns = (left, column("{task.fields[place]}", last=True))
        super().__init__(title, columns, error=True, transient=True, place="", **where)
        self._title = f"{title}: " if title else ""

    def say(self, line: str) -> None:
        """Show a line that stays, after the title."""
        super().say(f"{self._title}{line}")

    def begin(self, name: str, number: int, count: int) -> None:
        """Start the bar anew for a measure, the number-th of count; in a pipe, print a line."""
        if not self.terminal:
            self.say(f"measuring {name} ... ({number} of {count})")
            return
        self.bar.remove_task(self.task)
        self.task = self.bar.add_task(f"{self._title}measuring {name}", total=None, place=f"left, {number} of {count}")

    def progress(self, done: int, total: int) -> None:
        """Move the bar of the measure; a total of 0 is not known."""
        self.move(done, total or None)


def announced(count: int, with_data: int, seconds: float | None) -> str:
    """Return how many measures there are, those ``with_data`` among them, and how long these take at most, about."""
    if not with_data:
        return f"{count} measures of the weights"
    words = f"{count} measures, {with_data} of them on data"
    if seconds is None:
        return f"{words}, for which no time limit is set"
    limit = with_data * seconds
    return f"{words}: about {f'{limit / 60:.0f} minutes' if limit >= 120 else f'{limit:.0f} seconds'} at most"


def with_data(task: str) -> tuple[str, ...]:
    """Return the names of the measures with data for models of a task."""
    return tuple(DATA_MEASURES) if task == "classification" else (SCORES,)


def open_couple(before: str, after: str, **how: Any) -> ModelPair:
    """Open two models as :func:`refconv.models.opening.open_pair` does; refocused ones become what they merge to."""
    opened = open_pair(before, after, **how)
    for side in opened:
        if any(True for _ in transformed(side.model)):
            merge(side.model)
    return ModelPair(opened, side_facts(before, opened[0]), side_facts(after, opened[1]))


def analyse(
    couple: ModelPair,
    questions: AnalysisConfig,
    *,
    display: Display | None = None,
    earlier: PairFacts | None = None,
    beside: PairFacts | None = None,
    missing: str | None = None,
) -> Analysis:
    """Take the measures that are asked for; those that these models or data do not allow are left out with the reason.

    The models are moved to the device, and otherwise left as found. What ``earlier``, an analysis that :func:`reusable`
    found, measured is not measured again. Measures take as many samples as in ``beside``, the analysis of another pair
    with the same start, so that the two can stand side by side. ``missing``: why there are no measures with data, where
    they were wanted. Where no measure could be taken, the error of the first is raised.
    """
    if not missing:
        questions.check_data()
    models = couple.opened[0].model, couple.opened[1].model
    include, exclude = list(questions.include) or None, list(questions.exclude) or None
    pair_kernels(*models, include, exclude)  # what no measure could compare is refused as a whole
    known, fixed = earlier.measured if earlier else {}, beside.samples if beside else {}
    task = couple.opened[1].task
    asked = questions.measures(task)
    chosen = [name for name in asked if name not in known]
    left_out = {name: missing for name in with_data(task) if missing and (not questions.only or name in questions.only)}
    if not asked:
        raise SettingError("nothing is left to measure", where="--only", found=missing or f"models for {task}")
    evidence = examination = data = None
    if SCORES in chosen:
        source = questions.source(fixed.get(SCORES, questions.samples))
        examination = open_examination(couple.opened, str(questions.data), **source)
        data = examination.data
    if any(name in DATA_MEASURES for name in chosen):
        source = {**questions.source(questions.samples), "seconds": questions.seconds}
        evidence, impossible, data = open_evidence(couple.opened, str(questions.data), **source)
        _check_fit(couple, evidence.batches)
        left_out |= {name: reason for name, reason in impossible.items() if name in chosen}
        chosen = [name for name in chosen if name not in impossible]

    def measure(name: str) -> Found:
        if name in WEIGHT_MEASURES:
            return {"pair": WEIGHT_MEASURES[name](*models, include=include, exclude=exclude)}
        if examination is not None:
            return examination.scores(*models)
        assert evidence is not None
        bound: dict[str, Any] = {"max_samples": fixed[name], "max_seconds": None} if name in fixed else {}
        return DATA_MEASURES[name](*models, replace(evidence, progress=shown.progress, **bound))

    taken = _Taken()
    with display or Display(show=False) as shown:
        for line in () if data is None else data.said:
            shown.say(line)
        if len(chosen) > 1:
            shown.say(announced(len(chosen), sum(name in DATA_MEASURES for name in chosen), questions.seconds))
        for number, name in enumerate(chosen, 1):
            shown.begin(name, number, len(chosen))
            taken.take(name, measure)
    if taken.errors and not taken.records and known.keys().isdisjoint(asked):
        raise taken.errors[0]
    facts = _facts(couple, questions, taken, {**left_out, **taken.left_out}, earlier)
    return Analysis(facts if data is None else replace(facts, images=str(data.preprocessing)), taken.records)


def reusable(
    folder: Path, couple: ModelPair, questions: AnalysisConfig, beside: PairFacts | None = None
) -> PairFacts | None:
    """Return the facts of an earlier analysis whose records still hold; None if nothing of it does.

    Records of another number of samples than the measures of ``beside`` took do not hold.
    """
    facts = read_facts(folder)
    if facts is None:
        return None
    was = (facts.before.fingerprint, facts.after.fingerprint, facts.versions.get("refconv"))
    now = (couple.before.fingerprint, couple.after.fingerprint, versions()["refconv"])
    asked = (questions.data_facts(couple), questions.include, questions.exclude)
    if was != now or (facts.data, facts.include, facts.exclude) != asked:
        return None
    wanted = {**facts.samples, **(beside.samples if beside else {})}
    held = [name for name in facts.measured if facts.samples.get(name) == wanted.get(name) and _readable(folder, name)]
    samples = {name: facts.samples[name] for name in held if name in facts.samples}
    return replace(facts, measured={name: facts.measured[name] for name in held}, samples=samples)


class _Taken:
    """Measures as they are taken: records and seconds, or the reason why there are none."""

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.seconds: dict[str, float] = {}
        self.samples: dict[str, int] = {}
        self.left_out: dict[str, str] = {}
        self.errors: list[RefconvError] = []

    def take(self, name: str, measure: Callable[[str], Found]) -> None:
        begin = time.perf_counter()
        try:
            found = measure(name)
        except RefconvError as error:
            self.left_out[name] = str(error)
            self.errors.append(error)
            return
        except torch.OutOfMemoryError:
            self.left_out[name] = "the device has too little memory"
            return
        self.seconds[name] = round(time.perf_counter() - begin, 3)
        self.records |= {name if side == "pair" else f"{name}-{side}": record for side, record in found.items()}
        if name not in WEIGHT_MEASURES:
            first: Any = next(iter(found.values()))
            self.samples[name] = getattr(first, "conditions", first).samples


def _check_fit(couple: ModelPair, batches: Batches) -> None:
    """Make sure that both classifiers take the data."""
    samples, targets = next(iter(batches() if callable(batches) else batches))
    for side in couple.opened:
        with observing(side.model), torch.no_grad():
            classify(side.model, samples[:8], targets[:8])


def _facts(
    couple: ModelPair, questions: AnalysisConfig, taken: _Taken, left_out: Mapping[str, str], earlier: PairFacts | None
) -> PairFacts:
    after = couple.opened[1]
    measured = {**(earlier.measured if earlier else {}), **taken.seconds}
    reasons = {**(earlier.left_out if earlier else {}), **left_out}
    return PairFacts(
        before=couple.before,
        after=couple.after,
        model=after.name,
        task=after.task,
        class_names=after.class_names,
        data=questions.data_facts(couple),
        measured=measured,
        left_out={name: reason for name, reason in reasons.items() if name not in measured},
        samples={**(earlier.samples if earlier else {}), **taken.samples},
        include=questions.include,
        exclude=questions.exclude,
        hardware=hardware(next(after.model.parameters()).device),
        versions=versions(),
        command=command(),
        images=earlier.images if earlier else "",
    )


def _readable(folder: Path, name: str) -> bool:
    """Return whether the records of a measure are there and are JSON."""
    found = [side for side in SIDES if (folder / f"{name}{side}.json").exists()]
    try:
        for side in found:
            json.loads((folder / f"{name}{side}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return found in ([SIDES[0]], [*SIDES[1:]])
