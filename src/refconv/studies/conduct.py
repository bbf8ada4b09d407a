"""Carrying out a study: its missing runs, several at a time, and the files of its results; or a preview of them."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch

from refconv.data import DataInfo
from refconv.engine import start
from refconv.errors import RunError, StudyError
from refconv.methods.registry import method_of
from refconv.models.run_folder import RunFolder, held, locked, write_whole
from refconv.paths import path_of
from refconv.process.interruption import StoppedError, interruptible
from refconv.records import Record
from refconv.studies import pages
from refconv.studies.comparison import MEASURES, Comparison
from refconv.studies.estimate import Board, Estimate, Pace, StepTimes, clock, kept_step_times, step_times
from refconv.studies.execution import record_of
from refconv.studies.executors import Execution, Executor
from refconv.studies.journal import Journal, restored_copy
from refconv.studies.outcome import Outcome
from refconv.studies.runs import Run, Runs
from refconv.studies.schedule import Schedule
from refconv.studies.study import Study, recipe_errors_in
from refconv.studies.summary import summarise
from refconv.task_measures import Measure
from refconv.tasks.registry import task_of

RECORD_FILE = "comparison.json"
PAGE_FILE = "comparison.md"
PLOT_FILES = ("forest.svg", "forest.png")
_SECONDS_BETWEEN_LOOKS = 2.0
_STEPS_OF_A_PREVIEW = 10


@dataclass(frozen=True, kw_only=True)
class CompareConfig(Execution):
    """How a study is carried out, beside where; its results do not depend on it."""

    only: str | None = None  #: pattern of ``ARCHITECTURE/METHOD``; other cells are not run
    journal: Path | None = None  #: file that notes every finished run; runs noted there are not run again
    show: bool = True  #: show progress on standard output


def compare(study: Study, out: Path, config: CompareConfig | None = None) -> Comparison:
    """Run what is missing of a study, resume what was interrupted, and write its results.

    Writes ``comparison.json``, ``comparison.md`` and the forest plot into the folder ``out``, beside the run folders.

    Raises:
        StudyError: if runs failed, after all others have ended and the results are written; or if a folder holds
            other runs, or nothing matches ``only``.
        StoppedError: after Ctrl-C, when checkpoints are written.
        RunError: if the folder is in use, a record is damaged, or matplotlib is missing.
        RecipeError: if a method is unknown.
        DataError: if the data cannot be had.
    """
    config, out = config or CompareConfig(), path_of(out)
    with stoppable(out):
        return _compared(study, out, config)


def _compared(study: Study, out: Path, config: CompareConfig) -> Comparison:
    if importlib.util.find_spec("matplotlib") is None:  # said before hours of training, not after
        raise RunError("the forest plot needs matplotlib", remedy="pip install 'refconv[analysis]'")
    RunFolder(out).refuse_run()
    alone = nullcontext() if config.journal is None else held(config.journal, "journal", force=True)
    with locked(out, "study folder"), alone:
        data = open_data_of(study)
        journal = None if config.journal is None else Journal(config.journal, out)
        if journal is not None:
            journal.restore()
        schedule = schedule_of(study, out, data, config.only)
        write_whole(out / "study.toml", study.text.encode())
        _, threads = config.sharing()
        with on_threads(threads):
            with Board(study.name, show=config.show) as shown:
                executor = config.opened(study.keep, out)
                carry_out(schedule, executor, shown, journal, out=out, select_by=study.select_by)
            times = _step_times(schedule, study, out)
        comparison = summarise(study, schedule, times, data)
        plot = PLOT_FILES if comparison.contrasts else ()
        pages.draw(comparison, *(out / name for name in plot))
        write_whole(out / PAGE_FILE, pages.markdown(comparison, plot=next(iter(plot), None)).encode())
        write_whole(out / RECORD_FILE, comparison.file_text().encode())
    if schedule.failures:
        raise StudyError(
            f"{len(schedule.failures)} of the study's runs failed",
            found=" | ".join(f"{name}: {words}" for name, words in schedule.failures.items()),
            remedy="the results of the others are written; the same command tries these again",
        )
    return comparison


def open_data_of(study: Study) -> dict[str, DataInfo]:
    """Return the facts about each architecture's data, which is opened once where architectures share it."""
    known: dict[str, DataInfo] = {}
    found = {}
    for architecture in study.architectures:
        recipe = study.base_recipe(architecture)
        names = ("task", "data", "data_dir", "val_split", "in_chans", "img_size")
        key = repr([getattr(recipe, name) for name in names])
        if key not in known:
            known[key] = task_of(recipe).open_data(recipe).info
        found[architecture.name] = known[key]
    return found


def schedule_of(study: Study, out: Path, data: Mapping[str, DataInfo], only: str | None) -> Schedule:
    """Check what can be checked before the first run, and return the schedule of the runs."""
    runs = Runs(study, out, {name: info.train_size for name, info in data.items()}, only)
    for architecture, method in runs.cells:
        info, where = data[architecture.name], f"methods.{method.name}"
        if len(method.points) > 1 and not info.val_size:
            what = f"{method.name} has settings to choose and no validation split to choose by"
            raise StudyError(what, where="study.val_split", expected="more than 0")
        if not info.test_size:
            raise StudyError("has no test split", where=info.name, expected="data with samples to test on")
        with recipe_errors_in(where):
            inherits = method_of(runs.final(architecture, method, method.points[0])[0].recipe).inherits
        if method.from_base and not inherits:
            what = "takes nothing from the base, so the base's budget is its own"
            raise StudyError(what, where=where, remedy="give from_base = false")
    return Schedule(runs)


class _Order(Protocol):
    """Runs of which some are over, some run, and some wait for others; see :class:`Schedule`."""

    over: list[Run]

    @property
    def total(self) -> int: ...
    @property
    def running(self) -> Sequence[Run]: ...
    def to_do(self) -> Iterator[Run]: ...
    def start(self) -> Run | None: ...
    def ended(self, run: Run, outcome: Outcome) -> None: ...


def carry_out(
    order: _Order,
    executor: Executor,
    shown: Board,
    journal: Journal | None,
    *,
    out: Path,
    select_by: str,
    planned: float | None = None,  # seconds that all of it was expected to take; much more is said once
) -> None:
    """Execute runs until none can be started, or raise StoppedError after Ctrl-C; ``select_by`` is shown of each."""
    estimate = Estimate()
    spent = sum(_learn(estimate, finished) for finished in order.over)
    if journal is not None:
        journal.note(order.over)
    if next(order.to_do(), None) is None:
        return
    try:
        with executor:
            pace = Pace(planned, spent / max(1, executor.slots))
            while True:
                while executor.free and (run := order.start()) is not None:
                    executor.start(run)
                if not order.running:
                    return
                _move(order, shown, estimate, executor.slots)
                for ended, outcome in executor.wait(_SECONDS_BETWEEN_LOOKS):
                    if outcome.state == "stopped":
                        raise KeyboardInterrupt
                    order.ended(ended, outcome)
                    if journal is not None and outcome.state in {"finished", "diverged"}:
                        journal.note([ended])
                    _learn(estimate, ended)
                    left = _move(order, shown, estimate, executor.slots)
                    shown.say(_line(ended, outcome, MEASURES[select_by]))
                    if (behind := pace.said(left)) is not None:
                        shown.say(behind)
    except KeyboardInterrupt:
        what = f"stopped with {len(order.over)} of {order.total} runs done"
        remedy = "the last checkpoints are whole, and the same command goes on"
        raise StoppedError(what, where=str(out), remedy=remedy) from None


@contextmanager
def stoppable(out: Path) -> Iterator[None]:
    """Stop at a signal within the block, of whatever is done there in a folder, with a line that says how to go on."""
    try:
        with interruptible():
            yield
    except KeyboardInterrupt:
        raise StoppedError("stopped", where=str(out), remedy="the same command goes on") from None


def _move(order: _Order, shown: Board, estimate: Estimate, jobs: int) -> float | None:
    """Show where the study stands; return the seconds that are left, None if they are not known."""
    left = estimate.seconds(order.to_do(), max(1, jobs))
    shown.place(done=len(order.over), total=order.total, now=[str(run) for run in order.running], left=left)
    return left


def _learn(estimate: Estimate, run: Run) -> float:
    """Take a run that is over into account; return the seconds that it took, 0 if it left no record."""
    record = record_of(run)
    if record is None:
        return 0.0
    estimate.learn(run, record.seconds, record.seconds_around)
    return record.seconds + (record.seconds_around or 0.0)


def _line(run: Run, outcome: Outcome, measure: Measure) -> str:
    """Return one line on how a run ended; without results on the test split, which are shown at the end."""
    if outcome.state != "finished":
        return f"{run}: {outcome.state}: {outcome.message}"
    record = record_of(run)
    assert record is not None  # it has finished
    value = record.val_last.measure(measure.name) if record.val_last else None
    score = f", validation {measure.name} {measure.shown(value)}" if value is not None else ""
    return f"{run}: {record.seconds:.0f} s{score}"


def _step_times(schedule: Schedule, study: Study, out: Path) -> dict[str, StepTimes]:
    """Time the steps of all cells that have results, architecture by architecture."""
    finished: dict[str, dict[str, Run]] = {}
    for architecture, method in schedule.cells:
        if runs := schedule.finals((architecture, method)):
            finished.setdefault(architecture, {})[method] = runs[0]
    folder = out / "step_times"
    return {name: kept_step_times(folder / f"{name}.json", runs, study.reference) for name, runs in finished.items()}


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let torch use a number of threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@dataclass(frozen=True)
class PreviewRow(Record):
    """Runs of a kind that a study would make."""

    runs: int
    kind: str  #: ``base``, ``selection`` or ``final``
    architecture: str
    method: str
    epochs: int
    samples_seen: int  #: by each
    seconds: float  #: of all, one at a time


@dataclass(frozen=True)
class Preview(Record):
    """What a study would do: its runs, how many are over, and the seconds that the others will take."""

    rows: tuple[PreviewRow, ...]
    runs: int
    over: int
    seconds: float
    basis: str  #: of the estimate

    @property
    def table(self) -> pages.Rows:
        """The runs as a table of texts, its titles first."""
        titles = ("runs", "kind", "architecture", "method", "epochs", "samples seen by each", "time, one at a time")
        return [
            titles,
            *(
                (str(row.runs), row.kind, row.architecture, row.method, str(row.epochs), f"{row.samples_seen:,}",
                 clock(row.seconds))
                for row in self.rows
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        time = f"about {clock(self.seconds)} to go" if self.over < self.runs else "nothing to do"
        return f"{self.runs} runs, {self.over} of them done; {time}, {self.basis}"


def preview(study: Study, out: Path, config: CompareConfig | None = None) -> Preview:
    """Count the runs of a study and estimate their time; nothing is written, and the errors are those of `compare`.

    Cells with a finished run are estimated from that run; for the others a few steps are timed. Bases that must be
    trained again because their weights are gone are not in the estimate.
    """
    config = config or CompareConfig()
    with nullcontext(out) if config.journal is None else restored_copy(config.journal, out) as folder:
        data = open_data_of(study)
        schedule = schedule_of(study, folder, data, config.only)
        jobs, threads = config.sharing()
        to_do = list(schedule.to_do())
        with on_threads(threads):
            estimate, basis = _estimated(schedule, to_do, data, study.reference)
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in (*schedule.over, *to_do):
        groups.setdefault((run.kind, run.architecture, run.method), []).append(run)
    rows = []
    for names, group in groups.items():
        recipe, size = group[0].recipe, data[group[0].architecture].train_size
        seen = recipe.epochs * max(1, size // recipe.batch_size) * min(recipe.batch_size, size)
        rows.append(PreviewRow(len(group), *names, recipe.epochs, seen, estimate.seconds(group) or 0.0))
    over = len(schedule.over)
    return Preview(tuple(rows), over + len(to_do), over, estimate.seconds(to_do, jobs) or 0.0, basis)


def _estimated(
    schedule: Schedule, to_do: Iterable[Run], data: Mapping[str, DataInfo], reference: str
) -> tuple[Estimate, str]:
    """Return an estimate, and what it is based on."""
    finished = [(run, record) for run in schedule.over if (record := record_of(run)) is not None]
    known = {(run.architecture, run.method) for run, _ in finished}
    unknown: dict[str, dict[str, Run]] = {}
    for run in to_do:
        if (run.architecture, run.method) not in known:
            unknown.setdefault(run.architecture, {}).setdefault(run.method, run)
    timed, around = {}, {}
    for architecture, runs in unknown.items():
        info, begin = data[architecture], time.perf_counter()
        found = step_times(runs, reference, _STEPS_OF_A_PREVIEW).median_ms
        taken = (1 + _STEPS_OF_A_PREVIEW) * sum(found.values()) / 1000
        opening = max(0.0, time.perf_counter() - begin - taken) / len(runs)
        for method, ms in found.items():
            recipe = runs[method].recipe
            batch = min(recipe.batch_size, info.train_size)
            steps = max(1, info.train_size // recipe.batch_size)
            # An evaluation has a forward and no backward: about a third of the time of training on the same samples.
            per_sample = ms / 1000 / batch / 3
            timed[architecture, method] = ms / 1000 * steps + per_sample * info.val_size / recipe.eval_interval
            # It starts and ends with an evaluation of a few samples, and in final runs with one of the test split.
            few = 2 * min(start.MOST, max(start.LEAST, recipe.epochs * steps * batch // start.SHARE))
            around[architecture, method] = opening + per_sample * (few + info.test_size * recipe.test)
    estimate = Estimate(timed, around)
    for run, record in finished:
        estimate.learn(run, record.seconds, record.seconds_around)
    bases = [f"{len(finished)} finished runs"] if finished else []
    bases += [f"{_STEPS_OF_A_PREVIEW} steps of each of {len(timed)} cells, timed now"] if timed else []
    return estimate, "estimated from " + " and ".join(bases or ["nothing"])
