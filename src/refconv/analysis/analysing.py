"""From two models that a user names to an analysis: records of what changed, and the facts of what was analysed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

import torch
from rich.progress import TimeRemainingColumn
from rich.table import Column
from torch import nn

from refconv.analysis.batches import Batches, Progress, classify, observing
from refconv.analysis.evidence import SCORES, AnalysisConfig, open_cues, open_evidence, open_scores, with_data
from refconv.analysis.keeping import Analysis, Taken, reusable, saying_what_is_kept
from refconv.analysis.pairs import pair_kernels
from refconv.analysis.registry import DATA_MEASURES, SHARES, WEIGHT_MEASURES, EvalData, Found
from refconv.analysis.stimuli import CUES
from refconv.analysis.timing import Budget
from refconv.data import Data, Split
from refconv.data.dataset import sampled
from refconv.engine.run_record import RunRecord, command, hardware, versions
from refconv.errors import SettingError
from refconv.measures.facts import PairFacts, SideFacts
from refconv.models.opening import Opened, open_pair
from refconv.models.run_folder import RunFolder
from refconv.process import progress
from refconv.process.progress import column
from refconv.recipe.rules import space_of
from refconv.surgery import merge
from refconv.surgery.refocusing import transformed


@dataclass(frozen=True)
class ModelPair:
    """Two models that were opened and are plain, the earlier first, and the facts of each."""

    opened: tuple[Opened, Opened]
    before: SideFacts
    after: SideFacts


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
    keep: Path | None = None,
    again: bool = False,
    beside: PairFacts | None = None,
    missing: str | None = None,
) -> Analysis:
    """Take the measures that are asked for; those that these models or data do not allow are left out with the reason.

    The models are moved to the device, and otherwise left as found. Each measure is written into the folder ``keep`` as
    soon as it is finished, and what :func:`reusable` finds there is not measured again, unless ``again`` says so.
    Measures take as many samples as in ``beside``, the analysis of another pair with the same start, so that the two
    can stand side by side. ``missing``: why there are no measures with data, where they were wanted. Where no measure
    could be taken, the error of the first is raised.

    Raises:
        StoppedError: at Ctrl-C; it says how many measures are kept.
    """
    task, models = couple.opened[1].task, (couple.opened[0].model, couple.opened[1].model)
    asked = questions.measures(task, wanted=bool(missing))
    selection: dict[str, Any] = {"include": list(questions.include) or None, "exclude": list(questions.exclude) or None}
    pair_kernels(*models, **selection)  # what no measure could compare is refused as a whole
    now = begun(couple, questions)
    taken = Taken(asked, None if keep is None or again else reusable(keep, now, beside))
    taken.leave_out([name for name in with_data(task) if not questions.only or name in questions.only], missing)
    if not asked:
        raise SettingError("nothing is left to measure", where="--only", found=missing or f"models for {task}")
    budget = Budget(questions.seconds, SHARES)
    with saying_what_is_kept(keep, now, asked, again=again), display or Display(show=False) as shown:
        means = _open(couple, questions, taken.missing, beside)
        if means.data is not None:
            taken.on(str(means.data.preprocessing), means.digest)
        chosen = [name for name in taken.missing if name not in means.impossible]
        taken.left_out |= {name: reason for name, reason in means.impossible.items() if name in taken.missing}
        budget.among(chosen)
        for line in means.data.said if means.data else ():
            shown.say(line)
        _say_what_comes(shown, asked, chosen, len(taken.missing), questions)

        def measure(name: str) -> Found:
            if name in WEIGHT_MEASURES:
                return {"pair": WEIGHT_MEASURES[name](*models, **selection)}
            return means.take(name, models, shown.progress, budget)

        def facts(left: Sequence[str] = ()) -> PairFacts:
            return replace(taken.facts(now, left), hardware=hardware(next(models[1].parameters()).device))

        for number, name in enumerate(chosen, 1):
            shown.begin(name, number, len(chosen))
            records = taken.take(name, measure)
            if keep is not None and records:
                Analysis(facts(chosen[number:]), records).write(keep)
        taken.check()
        if keep is not None:
            Analysis(facts()).write(keep)
    return Analysis(facts(), taken.records)


@dataclass(frozen=True)
class _Means:
    """What measures with data are taken with, the data, and which of them these do not allow, with the reason."""

    data: Data | None = None
    digest: str = ""
    given: Mapping[str, Callable[[Progress], Found]] = field(default_factory=dict)
    evidence: EvalData | None = None
    impossible: Mapping[str, str] = field(default_factory=dict)
    fixed: Mapping[str, int] = field(default_factory=dict)  # samples that measures have to take

    def take(self, name: str, models: tuple[nn.Module, nn.Module], shown: Progress, budget: Budget) -> Found:
        """Take a measure within its share of the time, or on the samples that it has to take."""
        if name in self.given:
            return self.given[name](shown)
        assert self.evidence is not None
        share = budget.share(name)
        bound = {"max_samples": self.fixed[name], "max_seconds": None} if name in self.fixed else {"max_seconds": share}
        return DATA_MEASURES[name](*models, replace(self.evidence, progress=shown, **bound))


def _open(couple: ModelPair, questions: AnalysisConfig, names: Sequence[str], beside: PairFacts | None) -> _Means:
    """Open the data that measures of these names need."""
    opened, fixed = couple.opened, beside.samples if beside else {}
    given: dict[str, Callable[[Progress], Found]] = {}
    evidence = data = None
    impossible: Mapping[str, str] = {}
    if SCORES in names:
        given[SCORES], data = open_scores(opened, questions, fixed.get(SCORES, questions.samples))
    elif any(name in DATA_MEASURES for name in names):
        evidence, impossible, data = open_evidence(opened, questions)
        _check_fit(couple, evidence.batches)
    if CUES in names:
        given[CUES] = open_cues(opened, questions)
    split = cast(Split, questions.split)
    digest = hashlib.sha256(sampled(data, [split])).hexdigest() if data is not None else ""
    return _Means(data, digest, given, evidence, impossible, fixed)


def _say_what_comes(
    shown: Display, asked: Sequence[str], chosen: Sequence[str], missing: int, questions: AnalysisConfig
) -> None:
    if missing < len(asked):
        words = f"{len(asked) - missing} of {len(asked)} measures are there already"
        shown.say(f"{words}, of the same weights, data and settings; --again takes them anew")
    if len(chosen) > 1:
        shown.say(announced(len(chosen), sum(name in DATA_MEASURES for name in chosen), questions.seconds))


def begun(couple: ModelPair, questions: AnalysisConfig) -> PairFacts:
    """Return the facts of an analysis in which nothing has been measured."""
    opened = couple.opened
    return PairFacts(
        before=couple.before,
        after=couple.after,
        model=opened[1].name,
        task=opened[1].task,
        class_names=opened[1].class_names,
        data=questions.data_facts(opened),
        include=questions.include,
        exclude=questions.exclude,
        cues=questions.cue_conflict or "",
        versions=versions(),
        command=command(),
    )


def _check_fit(couple: ModelPair, batches: Batches) -> None:
    """Make sure that both classifiers take the data."""
    samples, targets = next(iter(batches() if callable(batches) else batches))
    for side in couple.opened:
        with observing(side.model), torch.no_grad():
            classify(side.model, samples[:8], targets[:8])


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


def _run_record(reference: str) -> RunRecord | None:
    """Return the record of the run that a reference names, as its folder or as the folder of its model."""
    folder = RunFolder(reference.removeprefix("local-dir:"))
    if folder.path.name == folder.model_folder.name and not folder.record_file.is_file():
        folder = RunFolder(folder.path.parent)
    return RunRecord.of_run(folder) if folder.record_file.is_file() else None
