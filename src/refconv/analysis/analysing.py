"""From two models that a user names to an analysis: records of what changed, and the facts of what was analysed."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import TimeRemainingColumn
from rich.table import Column
from torch import nn

from refconv.analysis.batches import Batches, Progress, classify, observing
from refconv.analysis.evidence import SCORES, AnalysisConfig, open_cues, open_evidence, open_scores, with_data
from refconv.analysis.pairs import pair_kernels
from refconv.analysis.registry import DATA_MEASURES, SHARES, WEIGHT_MEASURES, Found
from refconv.analysis.stimuli import CUES
from refconv.analysis.timing import Budget
from refconv.engine.run_record import RunRecord, command, hardware, versions
from refconv.errors import RefconvError, SettingError
from refconv.measures.facts import FACTS_FILE, PairFacts, SideFacts
from refconv.models.opening import Opened, open_pair
from refconv.models.run_folder import AGAIN, RunFolder, writing
from refconv.paths import path_of
from refconv.process import progress
from refconv.process.progress import column
from refconv.recipe.rules import space_of
from refconv.records import Record, content_of
from refconv.surgery import merge
from refconv.surgery.refocusing import transformed

SIDES = ("", "-before", "-after")
"""What follows the name of a measure in the name of a record: one of both models, or one of each."""


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
        place = path_of(folder)
        with writing(place, AGAIN):
            place.mkdir(parents=True, exist_ok=True)
            (place / FACTS_FILE).unlink(missing_ok=True)
            for name in (*WEIGHT_MEASURES, *DATA_MEASURES, SCORES):
                if name not in self.facts.measured:
                    for side in SIDES:
                        (place / f"{name}{side}.json").unlink(missing_ok=True)
            for name, record in self.records.items():
                record.write(place / f"{name}.json")
            self.facts.write(place / FACTS_FILE)


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
    """Return how many measures there are, those ``with_data`` among them, and how long all take, about."""
    if not with_data:
        return f"{count} measures of the weights"
    words = f"{count} measures, {with_data} of them on data"
    if seconds is None:
        return f"{words}, for which no time limit is set"
    limit = f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
    return f"{words}: about {limit}, or what the fewest samples take"


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
    opened, task = couple.opened, couple.opened[1].task
    asked = questions.measures(task, wanted=bool(missing))
    models = opened[0].model, opened[1].model
    include, exclude = list(questions.include) or None, list(questions.exclude) or None
    pair_kernels(*models, include, exclude)  # what no measure could compare is refused as a whole
    fixed = beside.samples if beside else {}
    taken = _Taken(earlier)
    chosen = [name for name in asked if name not in taken.measured]
    taken.leave_out([name for name in with_data(task) if not questions.only or name in questions.only], missing)
    if not asked:
        raise SettingError("nothing is left to measure", where="--only", found=missing or f"models for {task}")
    budget = Budget(questions.seconds, {name: SHARES[name] for name in chosen if name in SHARES})
    evidence = data = None
    given: dict[str, Callable[[Progress], Found]] = {}
    if SCORES in chosen:
        given[SCORES], data = open_scores(opened, questions, fixed.get(SCORES, questions.samples))
    elif any(name in DATA_MEASURES for name in chosen):
        evidence, impossible, data = open_evidence(opened, questions)
        _check_fit(couple, evidence.batches)
        taken.left_out |= {name: reason for name, reason in impossible.items() if name in chosen}
        chosen = [name for name in chosen if name not in impossible]

    if CUES in chosen:
        given[CUES] = open_cues(opened, questions)

    def measure(name: str) -> Found:
        if name in WEIGHT_MEASURES:
            return {"pair": WEIGHT_MEASURES[name](*models, include=include, exclude=exclude)}
        if name in given:
            return given[name](shown.progress)
        assert evidence is not None
        bound = _bound(name, budget, fixed)
        return DATA_MEASURES[name](*models, replace(evidence, progress=shown.progress, **bound))

    with display or Display(show=False) as shown:
        for line in data.said if data else ():
            shown.say(line)
        if len(chosen) > 1:
            shown.say(announced(len(chosen), sum(name in DATA_MEASURES for name in chosen), questions.seconds))
        for number, name in enumerate(chosen, 1):
            shown.begin(name, number, len(chosen))
            taken.take(name, measure)
    if taken.errors and taken.measured.keys().isdisjoint(asked):
        raise taken.errors[0]
    facts = PairFacts(
        before=couple.before,
        after=couple.after,
        model=opened[1].name,
        task=task,
        class_names=opened[1].class_names,
        data=questions.data_facts(opened),
        measured=taken.measured,
        left_out={name: reason for name, reason in taken.left_out.items() if name not in taken.measured},
        samples=taken.samples,
        include=questions.include,
        exclude=questions.exclude,
        hardware=hardware(next(models[1].parameters()).device),
        versions=versions(),
        command=command(),
        images=str(data.preprocessing) if data else taken.images,
    )
    return Analysis(facts, taken.records)


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
    asked = (questions.data_facts(couple.opened), questions.include, questions.exclude)
    if was != now or (facts.data, facts.include, facts.exclude) != asked:
        return None
    wanted = {**facts.samples, **(beside.samples if beside else {})}
    held = [name for name in facts.measured if facts.samples.get(name) == wanted.get(name) and _readable(folder, name)]
    samples = {name: facts.samples[name] for name in held if name in facts.samples}
    return replace(facts, measured={name: facts.measured[name] for name in held}, samples=samples)


def _bound(name: str, budget: Budget, fixed: Mapping[str, int]) -> dict[str, Any]:
    """Return what bounds a measure that is next: the samples that it has to take, or else its share of the time."""
    share = budget.share(name)
    return {"max_samples": fixed[name], "max_seconds": None} if name in fixed else {"max_seconds": share}


class _Taken:
    """Measures as they are taken, added to those of an earlier analysis: records and seconds, or why there are none."""

    def __init__(self, earlier: PairFacts | None) -> None:
        self.records: dict[str, Record] = {}
        self.errors: list[RefconvError] = []
        self.measured = dict(earlier.measured if earlier else {})
        self.samples = dict(earlier.samples if earlier else {})
        self.left_out = dict(earlier.left_out if earlier else {})
        self.images = earlier.images if earlier else ""

    def leave_out(self, names: Sequence[str], reason: str | None) -> None:
        """Leave measures out, if there is a reason."""
        self.left_out |= {} if reason is None else dict.fromkeys(names, reason)

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
        self.measured[name] = round(time.perf_counter() - begin, 3)
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


def _readable(folder: Path, name: str) -> bool:
    """Return whether the records of a measure are there and are JSON."""
    found = [side for side in SIDES if (folder / f"{name}{side}.json").exists()]
    try:
        for side in found:
            content_of((folder / f"{name}{side}.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return found in ([SIDES[0]], [*SIDES[1:]])


def side_facts(reference: str, opened: Opened) -> SideFacts:
    """Return the facts of a model that was opened, is plain and was named by a reference."""
    run = _run_record(reference)
    recipe = opened.recipe
    space = run.space if run is not None else space_of(recipe) if recipe is not None else None
    return SideFacts(
        reference=reference,
        method=recipe.method if recipe is not None else run.method if run is not None else None,
        space=space,
        run=run.to_dict() if run is not None else None,
        parameters=sum(parameter.numel() for parameter in opened.model.parameters()),
        fingerprint=fingerprint(opened.model),
    )


def fingerprint(model: nn.Module) -> str:
    """Return the SHA-256 of a model's weights and buffers: names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def read_facts(folder: Path) -> PairFacts | None:
    """Read the facts of an analysis; None if there are none, or none of this version."""
    try:
        return PairFacts.read(folder / FACTS_FILE)
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        return None


def _run_record(reference: str) -> RunRecord | None:
    """Return the record of the run that a reference names, as its folder or as the folder of its model."""
    folder = RunFolder(reference.removeprefix("local-dir:"))
    if folder.path.name == folder.model_folder.name and not folder.record_file.is_file():
        folder = RunFolder(folder.path.parent)
    return RunRecord.of_run(folder) if folder.record_file.is_file() else None
