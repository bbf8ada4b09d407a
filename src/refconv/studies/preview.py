"""What a study would run, and how long that takes."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from refconv.data import DataInfo
from refconv.studies.conduct import CompareConfig, on_threads, open_data_of, schedule_of
from refconv.studies.estimate import Estimate, clock
from refconv.studies.execution import record_of
from refconv.studies.journal import restored_copy
from refconv.studies.pages import Rows
from refconv.studies.runs import Run
from refconv.studies.schedule import Schedule
from refconv.studies.step_times import measure
from refconv.studies.study import Study

_TURNS = 10


@dataclass(frozen=True)
class Preview:
    """What a study would do.

    Attributes:
        rows: a table of the runs, its titles first.
        runs: runs in all.
        over: those that are over already.
        seconds: how long the others will take.
        basis: what the time was estimated from.
    """

    rows: Rows
    runs: int
    over: int
    seconds: float
    basis: str

    def __str__(self) -> str:
        time = f"about {clock(self.seconds)} to go" if self.over < self.runs else "nothing to do"
        return f"{self.runs} runs, {self.over} of them done; {time}, {self.basis}"


def preview(study: Study, out: Path, config: CompareConfig | None = None) -> Preview:
    """Count the runs of a study and estimate their time; nothing is written.

    Cells with a finished run are estimated from that run; for the others a few steps are timed. Bases that must be
    trained again because their weights are gone are not in the estimate.

    Args:
        study: the study.
        out: its folder, which need not exist.
        config: how the study is to be carried out.

    Raises:
        RefconvError: as :func:`refconv.studies.conduct.compare` does before the first run.
    """
    config = config or CompareConfig()
    with nullcontext(out) if config.journal is None else restored_copy(config.journal, out) as folder:
        return _preview(study, folder, config)


def _preview(study: Study, out: Path, config: CompareConfig) -> Preview:
    data = open_data_of(study)
    schedule = schedule_of(study, out, data, config.only)
    jobs, threads = config.sharing()
    to_do = list(schedule.to_do())
    with on_threads(threads):
        estimate, basis = _estimated(schedule, to_do, data, study)
    rows: Rows = [("runs", "kind", "architecture", "method", "epochs", "samples seen by each", "time, one at a time")]
    everything = [*schedule.over, *to_do]
    for kind, architecture, method in dict.fromkeys((run.kind, run.architecture, run.method) for run in everything):
        group = [run for run in everything if (run.kind, run.architecture, run.method) == (kind, architecture, method)]
        recipe, size = group[0].recipe, data[architecture].train_size
        seen = recipe.epochs * max(1, size // recipe.batch_size) * min(recipe.batch_size, size)
        time = estimate.seconds(group)
        rows.append((
            str(len(group)), kind, architecture, method, str(recipe.epochs), f"{seen:,}", clock(time or 0.0),
        ))  # fmt: skip
    return Preview(rows, len(everything), len(schedule.over), estimate.seconds(to_do, jobs) or 0.0, basis)


def _estimated(
    schedule: Schedule, to_do: Iterable[Run], data: dict[str, DataInfo], study: Study
) -> tuple[Estimate, str]:
    """Return an estimate, and what it is based on."""
    finished = [(run, record) for run in schedule.over if (record := record_of(run)) is not None]
    known = {(run.architecture, run.method) for run, _ in finished}
    unknown: dict[str, dict[str, Run]] = {}
    for run in to_do:
        if (run.architecture, run.method) not in known:
            unknown.setdefault(run.architecture, {}).setdefault(run.method, run)
    timed = {}
    for architecture, runs in unknown.items():
        times = measure(runs, study.reference, turns=_TURNS)
        info = data[architecture]
        for method, ms in times.median_ms.items():
            recipe = runs[method].recipe
            steps = max(1, info.train_size // recipe.batch_size)
            # An evaluation has a forward and no backward: about a third of the time of training on the same samples.
            evaluating = info.val_size / min(recipe.batch_size, info.train_size) / recipe.eval_interval / 3
            timed[architecture, method] = ms / 1000 * (steps + evaluating)
    estimate = Estimate(timed)
    for run, record in finished:
        estimate.learn(run, record.seconds)
    bases = [f"{len(finished)} finished runs"] if finished else []
    bases += [f"{_TURNS} steps of each of {len(timed)} cells, timed now"] if timed else []
    return estimate, "estimated from " + " and ".join(bases or ["nothing"])
