"""A run that lacks memory, data or a finite result: one line, and the last checkpoint goes on to the same result."""

import errno
import json
import os
import shutil

import pytest
import torch

from image_folders import two_classes
from refconv.engine import Recipe, train
from refconv.engine.run_record import Course
from refconv.engine.start import exploded
from refconv.engine.stepping import Stepper
from refconv.errors import DataError, RefconvError, RefconvWarning, RunError, TrainingError
from refconv.models.checkpoint import Checkpoint
from refconv.process.shortage import shortage
from refconv.tasks.classification.evaluation import ClassificationEvaluation
from run_results import same_result

RECIPE = {
    "model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.125}, "data": "digits",
    "epochs": 1, "epoch_steps": 4, "batch_size": 16, "device": "cpu", "workers": 0, "test": False,
}  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


def failing(monkeypatch, error, at=2):
    """Let the step after so many raise an error."""
    honest = Stepper.step

    def step(self, number, parts):
        if number == at:
            raise error
        return honest(self, number, parts)

    monkeypatch.setattr(Stepper, "step", step)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "out of memory at step 2 of 4"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "out of memory at step 2 of 4"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory at step 2 of 4"),
        (OSError(errno.EMFILE, os.strerror(errno.EMFILE), "a.png"), "Too many open files; raise the limit"),
        (ImportError("a.so: failed to map segment from shared object"), "out of memory at step 2 of 4"),
    ],
)
def test_a_shortage_names_the_checkpoint_that_is_kept(error, words, tmp_path, monkeypatch):
    failing(monkeypatch, error)
    with pytest.raises(RunError, match=words) as raised:
        train(Recipe(**RECIPE), tmp_path / "run", show=False)
    assert "the checkpoint of step 0 is kept: continue with --resume" in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_bug_in_a_step_stays_a_bug(tmp_path, monkeypatch):
    failing(monkeypatch, RuntimeError("shapes do not fit"))
    with pytest.raises(RuntimeError, match=r"^shapes do not fit$"):
        train(Recipe(**RECIPE), tmp_path / "run", show=False)


def test_data_that_are_lost_on_the_way_leave_a_checkpoint_of_the_last_step(tmp_path, monkeypatch):
    recipe = Recipe(**RECIPE)
    with monkeypatch.context() as patch:
        failing(patch, DataError("a data worker died", where="workers", remedy="use fewer workers"), at=3)
        words = "use fewer workers; the checkpoint of step 3 is written: continue with --resume"
        with pytest.raises(DataError, match=words):
            train(recipe, tmp_path / "run", show=False)
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").step == 3
    train(recipe, tmp_path / "run", resume=True, show=False)
    train(recipe, tmp_path / "whole", show=False)
    same_result(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(("lr", "words"), [(1e30, "the loss on the train split is not finite"), (50.0, "exploded")])
def test_a_run_whose_last_step_blows_up_does_not_finish(lr, words, tmp_path):
    steps = 1 if lr > 1e3 else 3
    recipe = Recipe(**{**RECIPE, "lr": lr, "opt": "sgd", "warmup_epochs": 0, "epoch_steps": steps})
    with pytest.raises(TrainingError, match=f"{words}.*the checkpoint of step 0 is kept; lower the learning rate"):
        train(recipe, tmp_path / "run", show=False)
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").step == 0
    assert not (tmp_path / "run/record.json").exists()
    assert not (tmp_path / "run/model").exists()


def test_only_a_loss_far_above_the_start_is_an_explosion():
    def end(loss):
        return ClassificationEvaluation(samples=32, top1=0.1, top5=0.5, loss=loss)

    course = Course("top1", "val", 32, 0.9, loss=0.01)
    assert exploded(course, end(99.0)) is None
    assert exploded(course, end(101.0)) == "0.01 at the start, 101 at the end"
    assert exploded(Course("top1", "val", 32, 0.1, loss=7.0), end(690.0)) is None
    assert exploded(Course("top1", "val", 32, 0.1), end(1e9)) is None
    assert exploded(None, end(1e9)) is None


def test_other_errors_are_no_shortage():
    forbidden = ImportError("a.so: failed to map segment from shared object: Operation not permitted")
    missing = FileNotFoundError(errno.ENOENT, "no such file", "a")
    for error in (KeyError("a"), RuntimeError("shape"), ImportError("no name b in a"), forbidden, missing):
        assert shortage(error) is None


def removing(monkeypatch, act, at=2):
    """Do something before the step after so many."""
    honest = Stepper.step

    def step(self, number, parts):
        if number == at:
            act()
        return honest(self, number, parts)

    monkeypatch.setattr(Stepper, "step", step)


def test_data_removed_while_a_run_trains_is_one_line_with_a_checkpoint(tmp_path, monkeypatch):
    data, settings = two_classes(tmp_path / "data", (16, 16), count=16), {"img_size": 16, "batch_size": 4}
    removing(monkeypatch, lambda: shutil.rmtree(data))
    with pytest.raises(RefconvError, match="No such file|no such|missing") as raised:
        train(Recipe(**{**RECIPE, **settings, "data": f"folder:{data}"}), tmp_path / "run", show=False)
    assert "\n" not in str(raised.value)
    assert str(data) in str(raised.value)
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").step >= 2


def test_metrics_removed_while_a_run_trains_are_said_and_begin_anew(tmp_path, monkeypatch):
    removing(monkeypatch, (tmp_path / "run/metrics.jsonl").unlink)
    with pytest.warns(RefconvWarning, match="metrics.jsonl: was removed while the run trains"):
        train(Recipe(**RECIPE), tmp_path / "run", show=False)
    rows = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert rows
    assert (tmp_path / "run/record.json").is_file()


@pytest.mark.parametrize("name", ["checkpoint.pt", "recipe.toml"])
def test_a_file_of_a_run_removed_while_it_trains_is_written_again(name, tmp_path, monkeypatch):
    removing(monkeypatch, (tmp_path / "run" / name).unlink)
    recipe = Recipe(**RECIPE)
    train(recipe, tmp_path / "run", show=False)
    assert Recipe.from_toml(tmp_path / "run/recipe.toml") == recipe
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").step == 4
