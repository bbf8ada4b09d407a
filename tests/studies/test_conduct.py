"""A study from beginning to end: what runs, what is kept, what happens when something goes wrong."""

import dataclasses
import os
import shutil
import signal

import pytest
import torch

from refconv.data import Data
from refconv.engine import RunRecord, train
from refconv.engine.stepping import Stepper
from refconv.errors import RefconvError, RunError, StudyError
from refconv.models.run_folder import locked
from refconv.process.interruption import StoppedError
from refconv.process.workers import worker_context
from refconv.recipe.recipe import Recipe
from refconv.studies import CompareConfig, Comparison, conduct, execution, local
from refconv.studies.conduct import preview
from refconv.studies.runs import Run
from small_studies import TINY, folders, study


def compare(read, out, **rest):
    return conduct.compare(read, out, CompareConfig(threads=1, **{"jobs": 1, "show": False, **rest}))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return a finished study, its folder, and the splits that each run read."""
    folder = tmp_path_factory.mktemp("finished")
    read = study(folder, methods={"scratch": {"method": "plain", "from_base": False, "lr": 0.1}})
    seen = {}

    def noted_train(recipe, out, **rest):
        seen[str(out.relative_to(folder / "out"))] = current = []
        honest = Data.eval_batches

        def noted(self, split, **options):
            current.append(split)
            return honest(self, split, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Data, "eval_batches", noted)
            return train(recipe, out, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(execution, "train", noted_train)
        found = compare(read, folder / "out")
    return read, folder / "out", found, seen


def test_the_test_split_is_read_once_per_final_run_and_by_no_other(finished):
    *_, seen = finished
    assert len(seen) == 3 + 4 + 6
    for name, splits in seen.items():
        assert splits.count("test") == (1 if name.startswith("final/") else 0), name
        assert "val" in splits


def test_every_method_of_a_seed_starts_from_the_same_base(finished):
    _, out, _, _ = finished
    for seed in (0, 1):
        runs = {name: folder for name, folder in folders(out).items() if name.startswith("final/")}
        recipes = {name.split("/")[2]: run.recipe() for name, run in runs.items() if name.endswith(f"seed-{seed}")}
        base = str(out / f"base/mobilenet/seed-{seed}/model")
        assert recipes["plain"].checkpoint == recipes["refocus"].checkpoint == base
        assert recipes["scratch"].checkpoint is None
        assert recipes["scratch"].epochs == recipes["plain"].epochs + 2


def test_results_are_those_of_the_records(finished):
    read, out, found, _ = finished
    assert Comparison.read(out / "comparison.json") == found
    for cell in found.cells:
        lr = cell.point.get("lr")
        folder = out / "final" / "mobilenet" / cell.method / (f"lr-{lr}" if lr else "")
        records = [RunRecord.read(folder / f"seed-{seed}" / "record.json") for seed in (0, 1)]
        assert cell.values == {name: tuple(getattr(r, name) for r in records) for name in ("top1", "loss", "ece")}
    plain = found.cell("mobilenet", "plain")
    assert plain.step_ratio == 1.0
    assert plain.samples_seen * 3 == found.cell("mobilenet", "scratch").samples_seen
    assert {contrast.method for contrast in found.contrasts} == {"refocus", "scratch"}
    assert found.study == read.text
    assert found.missing == {}
    assert found.runs == 13


def test_the_choice_is_the_best_of_what_was_tried(finished):
    _, out, found, _ = finished
    cell = found.cell("mobilenet", "refocus")
    scores = {}
    for tried in cell.tried:
        record = RunRecord.read(out / f"selection/mobilenet/refocus/lr-{tried.point['lr']}/seed-1000/record.json")
        assert tried.scores == (record.val_last.loss,)
        scores[tried.point["lr"]] = record.val_last.loss
    assert cell.point["lr"] == min(scores, key=scores.get)
    assert cell.edges == ("lr",)  # a grid of two values has nothing but edges


def test_finished_runs_keep_what_was_asked_for(finished):
    _, out, _, _ = finished
    for name, folder in folders(out).items():
        assert not folder.checkpoint_file.exists(), name
        assert folder.model_folder.is_dir() == (not name.startswith("selection/")), name


def test_a_second_call_runs_nothing_and_finds_the_same(finished, monkeypatch):
    read, out, found, _ = finished
    monkeypatch.setattr(execution, "train", None)
    assert compare(read, out) == found
    plan = preview(read, out)
    assert (plan.runs, plan.over) == (13, 13)
    assert "nothing to do" in str(plan)


def test_a_folder_with_other_settings_is_refused(finished, tmp_path):
    _, out, _, _ = finished
    other = study(tmp_path, recipe={**TINY["recipe"], "smoothing": 0.1})
    with pytest.raises(
        StudyError, match=r"seed-0: the folder holds a run with other settings; expected smoothing=0\.1"
    ):
        compare(other, out)


def test_runs_that_are_missing_are_made_and_no_others(finished, tmp_path):
    read, out, found, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    gone = copy / "final/mobilenet/scratch/seed-1"
    shutil.rmtree(gone)
    before = {name: folder.record_file.stat().st_mtime_ns for name, folder in folders(copy).items()}
    again = compare(read, copy)
    after = {name: folder.record_file.stat().st_mtime_ns for name, folder in folders(copy).items()}
    assert before.items() <= after.items()
    assert len(after) == len(before) + 1
    assert [cell.values for cell in again.cells] == [cell.values for cell in found.cells]


def test_an_interrupted_run_goes_on_to_the_same_result(finished, tmp_path, monkeypatch):
    read, _, found, _ = finished
    taken, started = [], []
    step, begin = Stepper.step, execution.train

    def interrupted(self, number, parts):
        taken.append(number)
        if len(taken) == 22:  # in the second base
            signal.raise_signal(signal.SIGINT)
        return step(self, number, parts)

    def noted(recipe, folder, *, resume, show):
        started.append((str(folder.relative_to(tmp_path)), resume))
        return begin(recipe, folder, resume=resume, show=show)

    monkeypatch.setattr(Stepper, "step", interrupted)
    monkeypatch.setattr(execution, "train", noted)
    with pytest.raises(StoppedError, match="out: stopped with 1 of 7 runs done; the last checkpoints are whole"):
        compare(read, tmp_path / "out", only="*/plain")
    again = compare(read, tmp_path / "out", only="*/plain")
    second = "out/base/mobilenet/seed-1"
    assert started[:3] == [("out/base/mobilenet/seed-0", False), (second, False), (second, True)]
    assert len(started) == 8
    assert [cell.values for cell in again.cells] == [found.cell("mobilenet", "plain").values]


def test_a_run_killed_before_its_first_checkpoint_is_started_anew(tmp_path):
    read = study(tmp_path, study={"seeds": 1}, grid={"lr": [0.05]})
    folder = tmp_path / "out/base/mobilenet/seed-0"
    folder.mkdir(parents=True)
    (folder / "recipe.toml").write_text("broken", encoding="utf-8")
    found = compare(read, tmp_path / "out", only="*/plain")
    assert [cell.method for cell in found.cells] == ["plain"]
    assert (folder / "record.json").is_file()


def test_settings_that_diverge_are_not_chosen(tmp_path):
    read = study(tmp_path, grid={"lr": [1e9, 0.05]}, study={"seeds": 1})
    found = compare(read, tmp_path / "out", only="*/plain")
    (cell,) = found.cells
    assert cell.point == {"lr": 0.05}
    assert [tried.mean is None for tried in cell.tried] == [True, False]
    assert "not finite" in (tmp_path / "out/selection/mobilenet/plain/lr-1e+09/seed-1000/diverged.txt").read_text()
    assert compare(read, tmp_path / "out", only="*/plain") == found


def test_a_failed_run_is_reported_after_the_others_are_done(tmp_path):
    broken = {"method": "refocus", "include": ["nothing-of-this-name"], "lr": 0.1}
    wild = {"method": "plain", "grid": {"lr": [1e9, 1e10]}}
    methods = {"refocus": None, "broken": broken, "wild": wild}
    read = study(tmp_path, study={"seeds": 1}, grid={"lr": [0.05]}, methods=methods)
    with pytest.raises(StudyError, match="2 of the study's runs failed") as caught:
        compare(read, tmp_path / "out")
    assert "final mobilenet/broken seed 0: " in str(caught.value)
    assert "nothing-of-this-name" in str(caught.value)
    assert "mobilenet/wild: every combination of its grid diverged" in str(caught.value)
    found = Comparison.read(tmp_path / "out/comparison.json")
    assert [cell.method for cell in found.cells] == ["plain"]
    assert found.missing["mobilenet/wild"] == "every combination of its grid diverged"
    assert "nothing-of-this-name" in found.missing["mobilenet/broken"]
    assert set(found.missing) == {"mobilenet/broken", "mobilenet/wild"}


def test_what_waits_for_a_failed_base_is_given_up(tmp_path):
    read = study(tmp_path, base={"lr": 1e9}, study={"seeds": 1})
    with pytest.raises(StudyError, match="2 of the study.s runs failed; .*base mobilenet seed 0: step .* not finite"):
        compare(read, tmp_path / "out")
    found = Comparison.read(tmp_path / "out/comparison.json")
    assert found.cells == ()
    assert all("not finite" in why for why in found.missing.values())
    assert set(found.missing) == {"mobilenet/plain", "mobilenet/refocus"}


def test_a_result_that_is_not_finite_is_no_result(finished, tmp_path):
    read, out, _, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    record = copy / "final/mobilenet/scratch/seed-1/record.json"
    dataclasses.replace(RunRecord.read(record), loss=float("inf")).write(record)
    found = compare(read, copy)
    assert found.missing == {"mobilenet/scratch": "a result is not finite"}
    assert [cell.method for cell in found.cells] == ["plain", "refocus"]


def test_a_study_folder_has_one_user_at_a_time(tmp_path):
    with locked(tmp_path / "out", "study folder"), pytest.raises(RunError, match="the study folder is in use"):
        compare(study(tmp_path), tmp_path / "out")


def test_the_folder_of_a_run_is_not_taken_for_a_study(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("")
    with pytest.raises(RunError, match="run: the folder of a run; give another folder"):
        compare(study(tmp_path), tmp_path / "run")
    assert [file.name for file in (tmp_path / "run").iterdir()] == ["recipe.toml"]


@pytest.mark.parametrize(
    ("tables", "words"),
    [
        ({"study": {"val_split": 0.0}}, "study.val_split: plain has settings to choose and no validation split"),
        ({"methods": {"big": {"method": "refocs"}}}, "methods.big: method: unknown method; .* did you mean refocus"),
        ({"methods": {"scratch": {"lr": 0.1}}}, "methods.scratch: takes nothing from the base, .* from_base = false"),
        ({"recipe": {"data": "digitz"}}, "digitz: unknown data"),
    ],
)
def test_what_can_be_said_before_the_first_run_is_said_then(tmp_path, tables, words):
    with pytest.raises(RefconvError, match=words):
        compare(study(tmp_path, **tables), tmp_path / "out")
    assert folders(tmp_path / "out") == {}


def test_a_missing_plot_library_is_said_before_the_first_run(tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"needs matplotlib; pip install 'refconv\[analysis\]'"):
        compare(study(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_processes_find_what_one_process_finds_and_survive_a_death(finished, tmp_path, monkeypatch):
    # They fork from a process that has imported torch; tests/studies/test_remote.py waits for one that starts anew.
    context = worker_context()
    monkeypatch.setattr("multiprocessing.get_context", lambda method: context)
    _, _, found, _ = finished
    dying = {"dying": {"model": "small_studies:dies"}}
    read = study(tmp_path, architectures=dying, grid={"lr": [0.05]}, study={"seeds": 1}, methods={"refocus": None})
    with pytest.raises(
        StudyError, match="1 of the study's runs failed; .*dying/seed-0: its process ended with status 7"
    ):
        compare(read, tmp_path / "out", jobs=2)
    again = Comparison.read(tmp_path / "out/comparison.json")
    assert found.cell("mobilenet", "plain").point == {"lr": 0.05}
    values = found.cell("mobilenet", "plain").values
    assert again.cell("mobilenet", "plain").values == {name: some[:1] for name, some in values.items()}
    assert again.missing.keys() == {"dying/plain"}


def test_devices_are_shared_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local.visible_devices() == ["0", "1"]
    assert CompareConfig().sharing()[0] == 2
    with local._visible("1"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    assert local.visible_devices() == ["3", "5"]
    assert local.ProcessExecutor(3, 1, "all", ["3", "5"])._devices == ["3", "5", "3"]


def test_threads_are_shared_out(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    assert CompareConfig().sharing() == (1, 8)
    assert CompareConfig(jobs=3).sharing() == (3, 2)
    assert CompareConfig(jobs=16).sharing() == (16, 1)
    assert CompareConfig(jobs=2, threads=5).sharing() == (2, 5)


def test_steps_are_timed_on_as_many_threads_as_runs_have(tmp_path, monkeypatch):
    counts = []

    def noted(recipes, turns):
        counts.append(torch.get_num_threads())
        return {name: [0.01] for name in recipes}

    monkeypatch.setattr("refconv.studies.estimate.step_seconds", noted)
    before = torch.get_num_threads()
    preview(study(tmp_path), tmp_path / "out", CompareConfig(threads=before + 2))
    assert counts == [before + 2]
    assert torch.get_num_threads() == before


def test_want_of_memory_fails_one_run(tmp_path, monkeypatch):
    def full(*arguments, **rest):
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore")

    monkeypatch.setattr(execution, "train", full)
    recipe, folder = Recipe(model="x", data="digits"), tmp_path / "run"
    run = Run(kind="final", architecture="a", method="m", point={}, recipe=recipe, folder=folder)
    outcome = execution.execute(run, "all")
    assert outcome == execution.Outcome(
        "failed",
        f"{folder}: out of memory; found CUDA out of memory. more; free memory, or use a smaller batch or fewer "
        "workers",
    )


@pytest.mark.parametrize(("task", "primary"), [("regression", "mae"), ("multilabel", "label_map"), ("binary", "auc")])
def test_networks_of_other_targets_are_compared_by_their_own_measure(task, primary, tmp_path):
    positive = {"positive": "3"} if task == "binary" else {}
    small = study(
        tmp_path, study={"seeds": 1, "samples": 200}, base={"samples": 200}, grid={"lr": [0.01]},
        recipe={"task": task, **positive},
    )  # fmt: skip
    found = compare(small, tmp_path / "out")
    assert found.contrasts[0].measure == primary
    assert len(found.contrasts[0].differences) == 1
