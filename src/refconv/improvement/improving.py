"""The whole job: look, search, combine, decide, and ship."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from refconv.data import Split
from refconv.engine.run_record import command, hardware, versions
from refconv.engine.setup import Setup
from refconv.exporting.config import FORMATS
from refconv.exporting.exporting import export_model_folder
from refconv.exporting.record import ExportRecord
from refconv.improvement.combining import BASE, Pool, chosen, ordered
from refconv.improvement.config import ImproveConfig
from refconv.improvement.looking import (
    EARLIER,
    Look,
    check_base,
    check_place,
    check_seen,
    completed,
    contender_named,
    kept_plan,
    open_base,
    partakers,
    planned,
    said,
)
from refconv.improvement.page import write_page
from refconv.improvement.record import Candidate, FinalScores, ImproveRecord, SearchPlan
from refconv.improvement.scoring import Score, difference, score
from refconv.improvement.searching import Search
from refconv.improvement.verdict import verdict
from refconv.models.metadata import IMPROVED
from refconv.models.model_folder import load_model_folder, save_model_folder
from refconv.models.model_input import as_run
from refconv.models.run_folder import RunFolder, locked, write_whole
from refconv.paths import path_of
from refconv.process.volume import quiet
from refconv.recipe.code import trust_named
from refconv.recipe.recipe import Recipe
from refconv.studies.conduct import carry_out, on_threads, stoppable
from refconv.studies.estimate import Board
from refconv.studies.execution import has_weights, record_of
from refconv.studies.journal import Journal
from refconv.surgery import Certificate, verify
from refconv.task_measures import measures_of

PLAN_FILE, TEST_FILE, RECORD_FILE, JOURNAL_FILE = "plan.json", "test.json", IMPROVED, "journal.jsonl"
REPORT_FILE = "report.html"
Say = Callable[[str], None]


def improve_recipe(
    recipe: Recipe, out: Path | str, config: ImproveConfig, *, given: Sequence[str] = ()
) -> ImproveRecord | None:
    """Improve a trained network within a budget, and leave the result, certified, in ``OUT/model``.

    The same call goes on after an interruption. The test split is read at the end, once.

    Args:
        recipe: model, weights, data, and the settings that all runs share; ``lr`` is the rate that the contenders'
            rates are multiples of.
        out: the folder.
        config: budget, contenders, and how the work is carried out.
        given: the names of the recipe's settings that the user chose; the others may be decided by the data.

    Returns:
        What was found; None after a dry run.

    Raises:
        SettingError: if a setting is not possible.
        DataError: if the data cannot be had.
        ModelError: if the network cannot be built, or does no better than guessing.
        CheckpointError: if its weights do not fit.
        RunError: if the folder is in use, holds something else, or no run left a result.
        StoppedError: after Ctrl-C; the same call goes on.
    """
    out, say = path_of(out), _saying(config)
    jobs, threads = config.sharing()
    if config.dry_run:
        plan_improvement(recipe, out, config, given=given)
        return None
    check_place(out)
    trust_named(recipe)
    recipe = completed(recipe, given)
    partakers(recipe, config)
    with stoppable(out), locked(out, "folder of the improvement"), on_threads(threads):
        if (out / PLAN_FILE).is_file():
            setup = open_base(recipe)
            plan = kept_plan(out / PLAN_FILE, setup, recipe, config)
            say(f"{out}: going on with the plan in {PLAN_FILE}")
        else:
            setup, plan = _look(recipe, config, say, jobs)
            write_whole(out / PLAN_FILE, plan.file_text().encode())
        search = Search(plan, out / "runs")
        with Board("improve", show=config.show) as shown:
            carry_out(
                search, config.opened("all", out), shown, Journal(out / JOURNAL_FILE, out), out=out,
                select_by=measures_of(recipe.task).primary.name, planned=plan.seconds,
            )  # fmt: skip
        return _finished(search, setup, plan, out, say, config.exports)


def plan_improvement(
    recipe: Recipe, out: Path | str, config: ImproveConfig, *, given: Sequence[str] = ()
) -> SearchPlan:
    """Measure a network and plan its improvement, without training or writing anything.

    Arguments and errors are those of :func:`improve_recipe`.
    """
    check_place(path_of(out))
    trust_named(recipe)
    recipe = completed(recipe, given)
    partakers(recipe, config)
    jobs, threads = config.sharing()
    with on_threads(threads):
        return _look(recipe, config, _saying(config), jobs)[1]


def _saying(config: ImproveConfig) -> Say:
    return partial(print, flush=True) if config.show and not quiet() else lambda line: None


def _look(recipe: Recipe, config: ImproveConfig, show: Say, jobs: int) -> tuple[Setup, SearchPlan]:
    notes: list[str] = []

    def say(line: str) -> None:
        notes.append(line)
        show(line)

    begun = time.perf_counter()
    setup = open_base(recipe)
    opened = time.perf_counter()
    for line in filter(None, (*setup.data.said, setup.small_images)):
        say(line)
    base = score(setup.model, setup, "val")
    validated = time.perf_counter()
    check_base(setup, base, say, check=config.check)
    tested = score(setup.model, setup, "test") if setup.data.info.test_size else None
    check_seen(base, tested, say)
    plan = planned(setup, recipe, config, Look(base, tested, tuple(notes), opened - begun, validated - opened), jobs)
    for line in said(plan):
        show(line)
    return setup, plan


@dataclass(frozen=True)
class _Decision:
    """What the validation split decided: the result, and the best single runs with and without refocusing."""

    winner: Candidate
    unrefocused: Candidate | None
    refocused: Candidate | None

    @classmethod
    def of(cls, pool: Pool, singles: Sequence[Candidate]) -> _Decision:
        best = {candidate.refocused: candidate for candidate in reversed(ordered(singles))}
        return cls(chosen(tuple(pool.candidates.values())), best.get(False), best.get(True))


def _finished(
    search: Search, setup: Setup, plan: SearchPlan, out: Path, say: Say, exports: Sequence[str]
) -> ImproveRecord:
    """Combine, decide, test, and write everything."""
    pool = Pool(setup, plan.base, say)
    singles = [
        pool.add_run(entry, run.folder, contender_named(entry.contender, plan).complexity)
        for entry, run in search.finalists
    ]
    earlier = [
        pool.add_run(
            entry, run.folder, contender_named(entry.contender, plan).complexity, f"round {len(plan.rounds) - 1}"
        )
        for entry, run in search.earlier[:EARLIER]
        if has_weights(run.folder)
    ]
    pool.add_soups([*singles, *earlier])
    decided = _Decision.of(pool, singles)
    tested = _tested(pool, setup, plan.base_tested, decided, out / TEST_FILE)
    certificate = _written(pool, setup, decided.winner, out / "model")
    exported = tuple(_exported(setup.recipe, out, name, say) for name in exports)
    gain, refocusing = difference(tested.base, tested.winner), None
    if tested.unrefocused is not None and tested.refocused is not None:
        refocusing = difference(tested.unrefocused, tested.refocused)
    runs = [done for run in search.over if (done := record_of(run)) is not None]
    record = ImproveRecord(
        model=setup.recipe.model,
        task=setup.task.name,
        verdict=verdict(decided.winner, tested, setup.task.name),
        plan=plan,
        tried=search.tried(),
        candidates=tuple(pool.candidates.values()),
        winner=decided.winner.name,
        unrefocused=None if decided.unrefocused is None else decided.unrefocused.name,
        refocused=None if decided.refocused is None else decided.refocused.name,
        tested=tested,
        gain=gain,
        refocusing=refocusing,
        certificate=certificate,
        samples_seen=sum(run.samples_seen for run in runs),
        seconds=sum(run.seconds for run in runs),
        preprocessing=str(setup.data.preprocessing),
        hardware=hardware(setup.processes.device),
        versions=versions(),
        command=command(),
        exports=exported,
    )
    write_page(record, out / REPORT_FILE)
    write_whole(out / RECORD_FILE, record.file_text().encode())
    _clear(search)
    return record


def _written(pool: Pool, setup: Setup, winner: Candidate, folder: Path) -> Certificate:
    """Write the result, compare it as it was written with the network as it was, and write it with the certificate."""
    about: dict[str, Any] = {
        "name": setup.recipe.model, "info": setup.info, "model_kwargs": setup.spec.model_kwargs,
        "preprocessing": as_run(setup.data.preprocessing, setup.recipe), "task": setup.task.name,
    }  # fmt: skip
    state = pool.state(winner.name)
    save_model_folder(folder, state, **about, model=pool.model(winner.name))
    written = load_model_folder(folder)
    certificate = verify(pool.model(BASE).cpu(), written, None)
    save_model_folder(folder, state, **about, certificate=certificate, model=written)
    return certificate


def _exported(recipe: Recipe, out: Path, name: str, say: Say) -> ExportRecord:
    """Write the result in a format of other programs, beside its folder, and check the file."""
    file = out / f"model{FORMATS[name]}"
    record = export_model_folder(out / "model", file, name, data=recipe.data, data_dir=recipe.data_dir, force=True)
    say(str(record))
    return record


def _tested(pool: Pool, setup: Setup, base: Score | None, decided: _Decision, path: Path) -> FinalScores:
    """Read the test split, unless an earlier call has read it; the network as it was has been tested in the look."""
    if path.is_file():
        return FinalScores.read(path)
    split: Split = "val" if base is None else "test"
    known: dict[str, Score] = {}
    for one in (decided.winner, decided.unrefocused, decided.refocused):
        if one is not None and one.name not in known:
            known[one.name] = score(pool.model(one.name), setup, split)
    single = [None if one is None else known[one.name] for one in (decided.unrefocused, decided.refocused)]
    tested = FinalScores(split, base or pool.candidates[BASE].score, known[decided.winner.name], *single)
    tested.write(path)
    return tested


def _clear(search: Search) -> None:
    """Remove what only going on would need: checkpoints, and the weights of all rounds but the last two."""
    last = {run.folder for _, run in (*search.finalists, *search.earlier)}
    for run in search.over:
        folder = RunFolder(run.folder)
        folder.checkpoint_file.unlink(missing_ok=True)
        if run.folder not in last and folder.model_folder.is_dir():
            shutil.rmtree(folder.model_folder)
