"""Carrying out a study: its missing runs, several at a time, and the files of its results."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import torch

from refconv.data import DataInfo
from refconv.errors import RecipeError, RunError, StudyError
from refconv.methods.registry import method_of
from refconv.models.run_folder import locked, write_whole
from refconv.process.interruption import StoppedError
from refconv.studies import forest, pages
from refconv.studies.board import Board
from refconv.studies.comparison import Comparison
from refconv.studies.estimate import Estimate
from refconv.studies.execution import Outcome, record_of
from refconv.studies.journal import Journal
from refconv.studies.measures import MEASURES, Measure
from refconv.studies.runs import Run, Runs
from refconv.studies.schedule import Schedule
from refconv.studies.step_times import StepTimes, measured_once
from refconv.studies.study import Study
from refconv.studies.summary import summarise
from refconv.studies.workers import ProcessExecutor, SerialExecutor, Workers, visible_devices
from refconv.tasks.registry import task_of

RECORD_FILE = "comparison.json"
PAGE_FILE = "comparison.md"
PLOT_FILES = ("forest.svg", "forest.png")

_SECONDS_BETWEEN_LOOKS = 2.0


@dataclass(frozen=True, kw_only=True)
class CompareConfig:
    """How a study is carried out; its results do not depend on it.

    Attributes:
        jobs: runs at a time; by default one for each CUDA device, or one.
        threads: of torch in each run; by default the threads that torch would use, divided by the number of jobs.
        only: pattern of ``ARCHITECTURE/METHOD``; other cells are not run.
        journal: file that notes every finished run; runs noted there are not run again.
        show: show progress on standard output.
    """

    jobs: int | None = None
    threads: int | None = None
    only: str | None = None
    journal: Path | None = None
    show: bool = True

    def sharing(self) -> tuple[int, int]:
        """Return how many runs there are at a time, and on how many threads each."""
        jobs = self.jobs or max(1, len(visible_devices()))
        return jobs, self.threads or max(1, torch.get_num_threads() // jobs)


def compare(study: Study, out: Path, config: CompareConfig | None = None) -> Comparison:
    """Run what is missing of a study, resume what was interrupted, and write its results.

    Writes ``comparison.json``, ``comparison.md`` and the forest plot into the folder, beside the run folders.

    Args:
        study: the study.
        out: its folder.
        config: how to carry it out.

    Raises:
        StudyError: if runs failed, after all others have ended and the results are written; or if a folder holds
            other runs, or nothing matches ``only``.
        StoppedError: after Ctrl-C, when checkpoints are written.
        RunError: if the folder is in use, or a record is damaged.
        RecipeError: if a method is unknown.
        DataError: if the data cannot be had.
    """
    config = config or CompareConfig()
    _require_plotting()
    with locked(out, "study folder"):
        data = open_data_of(study)
        journal = None if config.journal is None else Journal(config.journal, out)
        if journal is not None:
            journal.restore()
        schedule = schedule_of(study, out, data, config.only)
        write_whole(out / "study.toml", study.text.encode())
        jobs, threads = config.sharing()
        with Board(study.name, show=config.show) as shown:
            workers = workers_for(jobs, threads, study.keep)
            carry_out(schedule, workers, shown, journal, jobs=jobs, out=out, select_by=study.select_by)
        with on_threads(threads):
            times = _step_times(schedule, study, out)
        comparison = summarise(study, schedule, times, data)
        _write(comparison, out)
    _check_all_done(schedule)
    return comparison


def open_data_of(study: Study) -> dict[str, DataInfo]:
    """Return the facts about each architecture's data.

    Raises:
        DataError: if the data cannot be had.
        RecipeError: if a setting is not possible.
    """
    known: dict[str, DataInfo] = {}
    found = {}
    for architecture in study.architectures:
        recipe = study.base_recipe(architecture)
        key = repr(
            [getattr(recipe, name) for name in ("task", "data", "data_dir", "val_split", "in_chans", "img_size")]
        )
        if key not in known:
            known[key] = task_of(recipe).open_data(recipe).info
        found[architecture.name] = known[key]
    return found


def schedule_of(study: Study, out: Path, data: Mapping[str, DataInfo], only: str | None) -> Schedule:
    """Check what can be checked before the first run, and return the schedule of the runs.

    Args:
        study: the study.
        out: its folder.
        data: facts about each architecture's data.
        only: pattern of the cells that are wanted.

    Raises:
        StudyError: if there is no validation split to choose settings by, or no test split; if a method that starts
            anew is given a base; if a folder holds other runs, or nothing matches ``only``.
        RecipeError: if a method is unknown.
        RunError: if a record is damaged.
    """
    runs = Runs(study, out, {name: info.train_size for name, info in data.items()}, only)
    for architecture, method in runs.cells:
        info = data[architecture.name]
        if len(method.points) > 1 and not info.val_size:
            raise StudyError(
                f"{method.name} has settings to choose and no validation split to choose by",
                where="study.val_split",
                expected="more than 0",
            )
        if not info.test_size:
            raise StudyError("has no test split", where=info.name, expected="data with samples to test on")
        try:
            found = method_of(runs.final(architecture, method, method.points[0])[0].recipe)
        except RecipeError as error:
            raise StudyError(str(error), where=f"methods.{method.name}") from error
        if method.from_base and not found.inherits:
            raise StudyError(
                "takes nothing from the base, so the base's budget is its own",
                where=f"methods.{method.name}",
                remedy="give from_base = false",
            )
    return Schedule(runs)


class Order(Protocol):
    """Runs of which some are over, some run, and some wait for others."""

    over: list[Run]

    @property
    def total(self) -> int:
        """Runs in all."""

    @property
    def running(self) -> tuple[Run, ...]:
        """What runs now."""

    def to_do(self) -> Iterator[Run]:
        """Yield every run that is not over, for estimates."""

    def start(self) -> Run | None:
        """Return a run that can start now, which is running from then on; None if there is none at the moment."""

    def ended(self, run: Run, outcome: Outcome) -> None:
        """Take note that a run has ended."""


def workers_for(jobs: int, threads: int, keep: str) -> Workers:
    """Return what executes so many runs at a time; see :class:`refconv.studies.study.Study` for ``keep``."""
    return SerialExecutor(threads, keep) if jobs == 1 else ProcessExecutor(jobs, threads, keep, visible_devices())


def carry_out(
    order: Order, workers: Workers, shown: Board, journal: Journal | None, *, jobs: int, out: Path, select_by: str
) -> None:
    """Execute runs until none can be started.

    Args:
        order: which run comes next.
        workers: what executes them.
        shown: shows progress.
        journal: where finished runs are noted.
        jobs: runs at a time.
        out: the folder, for messages.
        select_by: the measure that is shown of each finished run.

    Raises:
        StoppedError: after Ctrl-C.
    """
    estimate = Estimate()
    for finished in order.over:
        _learn(estimate, finished)
    if journal is not None:
        journal.note(order.over)
    if next(order.to_do(), None) is None:
        return
    try:
        with workers:
            while True:
                while workers.free and (run := order.start()) is not None:
                    workers.start(run)
                if not order.running:
                    return
                _move(order, shown, estimate, jobs)
                for ended, outcome in workers.wait(_SECONDS_BETWEEN_LOOKS):
                    if outcome.state == "stopped":
                        _stop(order, out)
                    order.ended(ended, outcome)
                    if journal is not None and outcome.state in {"finished", "diverged"}:
                        journal.note([ended])
                    _learn(estimate, ended)
                    _move(order, shown, estimate, jobs)
                    shown.say(_line(ended, outcome, MEASURES[select_by]))
    except KeyboardInterrupt:
        _stop(order, out)


def _stop(schedule: Order, out: Path) -> NoReturn:
    """Raise the error that says how many runs are done and how to resume.

    Raises:
        StoppedError: always.
    """
    raise StoppedError(
        f"stopped with {len(schedule.over)} of {schedule.total} runs done",
        where=str(out),
        remedy="the same command goes on",
    ) from None


def _move(schedule: Order, shown: Board, estimate: Estimate, jobs: int) -> None:
    left = estimate.seconds(schedule.to_do(), jobs)
    shown.place(done=len(schedule.over), total=schedule.total, now=[str(run) for run in schedule.running], left=left)


def _learn(estimate: Estimate, run: Run) -> None:
    record = record_of(run)
    if record is not None:
        estimate.learn(run, record.seconds)


def _line(run: Run, outcome: Outcome, measure: Measure) -> str:
    """Return one line on how a run ended; without results on the test split, which are shown at the end."""
    if outcome.state != "finished":
        return f"{run}: {outcome.state}: {outcome.message}"
    record = record_of(run)
    assert record is not None  # it has finished
    end = record.val_last
    value = end.measure(measure.name) if end else None
    score = f", validation {measure.name} {measure.shown(value)}" if value is not None else ""
    return f"{run}: {record.seconds:.0f} s{score}"


def _step_times(schedule: Schedule, study: Study, out: Path) -> dict[str, StepTimes]:
    """Time the steps of all cells that have results, architecture by architecture."""
    finished = {cell: runs[0] for cell in schedule.cells if (runs := schedule.finals(cell))}
    times = {}
    for name in dict.fromkeys(architecture for architecture, _ in finished):
        own = {method: run for (architecture, method), run in finished.items() if architecture == name}
        times[name] = measured_once(out / "step_times" / f"{name}.json", own, study.reference)
    return times


def _write(comparison: Comparison, out: Path) -> None:
    plotted = bool(comparison.contrasts)
    if plotted:
        forest.draw(comparison, *(out / name for name in PLOT_FILES))
    page = pages.markdown(comparison, plot=PLOT_FILES[0] if plotted else None)
    write_whole(out / PAGE_FILE, page.encode())
    write_whole(out / RECORD_FILE, comparison.to_json().encode())


def _check_all_done(schedule: Schedule) -> None:
    """Check that no run failed.

    Raises:
        StudyError: naming the runs that did.
    """
    lines = [f"{name}: {words}" for name, words in schedule.failures.items()]
    if lines:
        raise StudyError(
            f"{len(lines)} of the study's runs failed",
            found=" | ".join(lines),
            remedy="the results of the others are written; the same command tries these again",
        )


def _require_plotting() -> None:
    """Check before hours of training, not after, that the plot can be drawn.

    Raises:
        RunError: if matplotlib is missing.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise RunError("the forest plot needs matplotlib", remedy="pip install 'refconv[analysis]'")


@contextmanager
def on_threads(count: int) -> Iterator[None]:
    """Let torch use a number of threads in the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
