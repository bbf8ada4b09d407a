"""A whole run: what it leaves, what it refuses, how it stops."""

import dataclasses
import json
import math
import os
import re
import signal
import textwrap
import threading
from contextlib import nullcontext

import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import load_file

from refconv.data import Data, open_data
from refconv.digests import DIGEST, with_digest
from refconv.engine import Recipe, RunRecord, train
from refconv.engine.epochs import Loop
from refconv.engine.metrics import Metrics
from refconv.engine.stepping import Stepper
from refconv.errors import (
    CheckpointError,
    DataError,
    ModelError,
    RecipeError,
    RefconvWarning,
    RunError,
    SettingError,
    TrainingError,
)
from refconv.models.checkpoint import Checkpoint
from refconv.models.creation import create_model
from refconv.models.model_folder import load_model_folder
from refconv.models.weight_files import read_weights
from refconv.process.interruption import StoppedError
from refconv.surgery import plain_state_dict
from refconv.tasks.classification.task import Classification
from run_results import read_metrics, same_result

DEEPER = {"model_kwargs": {"width": 0.25}}  #: A network that knows the digits after three epochs


def recipe(**settings):
    """Return a quick recipe: 11 steps an epoch, of the digits."""
    return Recipe(**{
        "model": "refconv.models.networks:mobilenet_small",
        "model_kwargs": {"width": 0.25, "strides": [1, 2], "stem_stride": 2}, "data": "digits", "opt": "momentum",
        "epochs": 2, "batch_size": 128, "log_interval": 4, **settings,
    })  # fmt: skip


@pytest.mark.parametrize(
    "settings",
    [{"method": "plain"}, {"method": "refocus", "space": "kernel"}, {"method": "refocus"}],
    ids=["plain", "kernel", "gradient"],
)
def test_a_run_leaves_its_folder_and_says_what_it_measured(settings, tmp_path):
    settings = {**settings, **DEEPER, "val_split": 0.1, "epochs": 3}
    record = train(recipe(**settings), tmp_path / "run", show=False)
    assert sorted(entry.name for entry in (tmp_path / "run").iterdir() if entry.name != ".lock") == [
        "checkpoint.pt", "metrics.jsonl", "model", "recipe.toml", "record.json",
    ]  # fmt: skip
    assert RunRecord.read(tmp_path / "run/record.json") == record
    assert Recipe.from_toml(tmp_path / "run/recipe.toml") == recipe(**settings)
    assert 'torch = "' in (tmp_path / "run/recipe.toml").read_text()
    assert record.steps == 30
    assert record.samples_seen == 30 * 128
    assert record.top1 > 0.5
    assert len(record.validation) == 3
    assert record.certificate.same_structure
    assert record.certificate.same_outputs
    expected = {"plain": None, "refocus": settings.get("space", "gradient")}[settings["method"]]
    assert record.space == expected
    assert (record.sites > 0) == (settings["method"] == "refocus")
    assert (record.extra_parameters > 0) == (expected == "kernel")
    assert (record.parameters_trained > record.parameters_shipped) == (expected == "kernel")
    model = create_model(recipe().model, num_classes=10, in_chans=1, model_kwargs={"width": 0.25})
    assert record.parameters_shipped == sum(p.numel() for p in model.parameters())
    model.load_state_dict(load_file(tmp_path / "run/model/model.safetensors"), strict=True)


def test_a_run_that_must_not_test_reads_no_test_sample(tmp_path, monkeypatch):
    splits = []
    honest = Data.eval_batches

    def noted(self, split, **rest):
        splits.append(split)
        return honest(self, split, **rest)

    monkeypatch.setattr(Data, "eval_batches", noted)
    record = train(recipe(val_split=0.1, epochs=1, test=False), tmp_path / "without", show=False)
    assert set(splits) == {"train", "val"}
    assert (record.top1, record.top5, record.loss, record.ece, record.test_samples) == (None, None, None, None, 0)
    assert not [row for row in read_metrics(tmp_path / "without/metrics.jsonl") if row["kind"] == "test"]
    tested = train(recipe(val_split=0.1, epochs=1), tmp_path / "with", show=False)
    assert splits.count("test") == 1
    assert tested.validation == record.validation
    assert 0 < tested.ece < 1
    assert tested.peak_memory_mb is None  # on a CPU


class Clock:
    """A clock that goes on by a quarter of a second each time it is read."""

    def __init__(self):
        self.now = 0.0

    def perf_counter(self):
        self.now += 0.25
        return self.now


@pytest.mark.parametrize(("batch_size", "parts", "samples"), [(128, 1, 128), (96, 3, 96), (5000, 1, 1438)])
def test_throughput_counts_the_samples_that_were_seen(batch_size, parts, samples, tmp_path, monkeypatch):
    """A step is timed by two readings, a quarter of a second apart; 1,438 digits make a step where a batch has more."""
    monkeypatch.setattr("refconv.engine.epochs.time", Clock())
    settings = {"batch_size": batch_size, "grad_accum_steps": parts, "epochs": 1, "log_interval": 1, "device": "cpu"}
    record = train(recipe(**settings), tmp_path / "run", show=False)
    rows = [row for row in read_metrics(tmp_path / "run/metrics.jsonl") if row["kind"] == "train"]
    assert len(rows) == record.steps
    assert [row["samples_per_second"] for row in rows] == [samples / 0.25] * len(rows)
    assert record.samples_seen == samples * record.steps


def test_lookahead_ships_its_slow_weights(tmp_path, monkeypatch):
    held = {}
    end = Stepper.end_epoch

    def ending(self):
        held["name"], kernel = next((name, p) for name, p in self.model.named_parameters() if p.ndim == 4)
        held["fast"] = kernel.detach().clone()
        end(self)
        held["slow"] = self.optimizer._base_optimizer.state[kernel]["lookahead_slow_buff"].clone()

    monkeypatch.setattr(Stepper, "end_epoch", ending)
    train(recipe(opt="lookahead_momentum", epochs=1), tmp_path / "run", show=False)  # 11 steps; every sixth moves them
    shipped = load_file(tmp_path / "run/model/model.safetensors")[held["name"]]
    assert torch.equal(shipped, held["slow"])
    assert not torch.equal(shipped, held["fast"])


def test_metrics_hold_every_log_step_and_every_evaluation(tmp_path):
    train(recipe(val_split=0.1, eval_interval=2, epochs=3), tmp_path / "run", show=False)
    rows = read_metrics(tmp_path / "run/metrics.jsonl")
    assert [row["step"] for row in rows if row["kind"] == "train"] == [4, 8, 12, 16, 20, 24, 28, 30]
    assert [(row["step"], row["epoch"]) for row in rows if row["kind"] == "val"] == [(20, 2), (30, 3)]
    assert [row["step"] for row in rows if row["kind"] == "test"] == [30]
    assert all(row["loss"] > 0 and row["samples_per_second"] > 0 for row in rows if row["kind"] == "train")


def test_the_result_of_a_timm_model_loads_as_timm_loads_folders(tmp_path):
    settings = {"model": "test_efficientnet", "model_kwargs": {}, "img_size": 32, "epochs": 1, "batch_size": 256}
    train(recipe(method="refocus", **settings), tmp_path / "run", show=False)
    loaded = timm.create_model(f"local-dir:{tmp_path / 'run/model'}", pretrained=True)
    plain = timm.create_model("test_efficientnet", num_classes=10, in_chans=1)
    plain.load_state_dict(loaded.state_dict(), strict=True)
    shipped = load_file(tmp_path / "run/model/model.safetensors")
    assert sorted(plain.state_dict()) == sorted(shipped)
    assert all(torch.equal(shipped[key], value) for key, value in plain.state_dict().items())


def test_the_average_is_what_is_shipped(tmp_path):
    train(recipe(method="refocus", model_ema=True, model_ema_decay=0.9), tmp_path / "run", show=False)
    checkpoint = Checkpoint.load(tmp_path / "run/checkpoint.pt")
    shipped = load_file(tmp_path / "run/model/model.safetensors")
    name = next(name for name in shipped if name in checkpoint.model and shipped[name].is_floating_point())
    assert torch.equal(shipped[name], checkpoint.model_ema[name])
    assert not torch.equal(shipped[name], checkpoint.model[name])


def test_methods_see_the_same_data_in_the_same_order(tmp_path, monkeypatch):
    seen = []
    step = Stepper.step
    monkeypatch.setattr(
        Stepper, "step", lambda self, n, parts: seen.append(parts[0][1].tolist()) or step(self, n, parts)
    )
    for method in ("plain", "refocus"):
        train(recipe(method=method), tmp_path / method, show=False)
    assert len(seen) == 44
    assert seen[:22] == seen[22:]


def test_a_refocused_run_starts_where_the_run_it_goes_on_from_ended(tmp_path):
    base = train(recipe(epochs=4), tmp_path / "base", show=False)
    again = recipe(checkpoint=str(tmp_path / "base"), method="refocus", lr=0.0, epochs=1)
    record = train(again, tmp_path / "again", show=False)
    assert record.top1 == pytest.approx(base.top1, abs=0.03)  # batch norm's statistics move at any learning rate


@pytest.mark.parametrize(
    "settings",
    [
        {"mixup": 0.2, "cutmix": 0.5, "smoothing": 0.1},
        {"amp": True, "channels_last": True},
        {"grad_accum_steps": 2, "clip_grad": 1.0},
        {"opt": "adamw", "lr": 0.003, "weight_decay": 0.05},
        {"hflip": 0.5, "pad_crop": 1, "re_prob": 0.2},
        {"deterministic": True, "num_classes": 12},
        {"data": "mnist1d", "model": "refconv.models.networks:mobilenet_1d", "mixup": 0.2, "epochs": 1},
    ],
    ids=lambda settings: "+".join(settings),
)
def test_options_run_together_with_refocusing(settings, tmp_path):
    record = train(recipe(method="refocus", **settings), tmp_path / "run", show=False)
    assert record.certificate.same_structure
    assert record.certificate.same_outputs
    assert record.train_loss < 2.6


def test_a_teacher_alone_is_enough(tmp_path):
    train(recipe(**DEEPER, epochs=4), tmp_path / "teacher", show=False)
    taught = recipe(**DEEPER, distill=str(tmp_path / "teacher"), distill_alpha=1.0, distill_temperature=2.0, epochs=4)
    assert train(taught, tmp_path / "run", show=False).top1 > 0.5


def test_progress_is_shown_as_plain_lines_in_a_pipe(tmp_path, capsys):
    train(recipe(val_split=0.1), tmp_path / "run")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("images: L, 8 x 8 px, mean ")
    assert re.fullmatch(r"start: top-1 .* on 144 samples of the validation split", lines[1])
    assert lines[2].startswith("plain mobilenet_small  step 4/20")
    assert any(line.startswith("epoch 1: validation top-1") for line in lines)
    assert lines[-2].startswith("test top-1")
    assert re.fullmatch(
        rf"top-1 from \d+\.\d\d% to \d+\.\d\d% \(144 validation samples\), written to {tmp_path}/run/model", lines[-1]
    )


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"method": "refokus"}, RecipeError, "unknown method"),
        ({"data": "digit"}, DataError, "unknown data"),
        ({"model": "resnet1888"}, ModelError, "resnet1888"),
        ({"opt": "sdg"}, RecipeError, "unknown optimizer"),
        ({"checkpoint": "nowhere.pth"}, CheckpointError, r"nowhere\.pth: no such file"),
        ({"num_classes": 9}, DataError, "digits: the data has more classes .* num_classes = 9, found 10"),
        ({"include": "blocks.99"}, SettingError, "blocks.99"),
        ({"batch_size": 2000, "grad_accum_steps": 2}, RecipeError, "an epoch has fewer samples than a batch"),
        ({"mixup": 0.2, "batch_size": 127}, RecipeError, "batch_size: mixup and cutmix need pairs; expected an even"),
        ({"device": "cuda:77"}, RunError, "no such device"),
    ],
    ids=lambda value: "+".join(value) if isinstance(value, dict) else "",
)
def test_a_mistake_is_said_in_one_line_and_leaves_nothing(settings, error, words, tmp_path):
    with pytest.raises(error, match=words) as caught:
        train(recipe(**{"method": "refocus", **settings}), tmp_path / "run", show=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_weights_of_another_class_count_are_refused(tmp_path):
    train(recipe(epochs=1, num_classes=12), tmp_path / "twelve", show=False)
    with pytest.raises(CheckpointError, match="different number of classes; expected 10 classes, found 12 classes"):
        train(recipe(checkpoint=str(tmp_path / "twelve")), tmp_path / "run", show=False)
    anew = recipe(checkpoint=str(tmp_path / "twelve"), reset_classifier=True, epochs=1)
    assert train(anew, tmp_path / "run", show=False).steps == 11


def test_an_existing_run_is_not_overwritten(tmp_path):
    train(recipe(epochs=1), tmp_path / "run", show=False)
    before = (tmp_path / "run/checkpoint.pt").read_bytes()
    with pytest.raises(RunError, match="the run folder exists already; .*--resume"):
        train(recipe(epochs=1), tmp_path / "run", show=False)
    assert (tmp_path / "run/checkpoint.pt").read_bytes() == before


def test_a_finished_run_gives_its_record_again(tmp_path):
    record = train(recipe(epochs=1), tmp_path / "run", show=False)
    before = (tmp_path / "run/metrics.jsonl").read_bytes()
    assert train(recipe(epochs=1), tmp_path / "run", resume=True, show=False) == record
    assert (tmp_path / "run/metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors"])
def test_a_finished_run_whose_model_lacks_a_file_writes_it_again(lost, tmp_path):
    train(recipe(epochs=1), tmp_path / "run", show=False)
    before = (tmp_path / "run/model" / lost).read_bytes()
    (tmp_path / "run/model" / lost).unlink()
    train(recipe(epochs=1), tmp_path / "run", resume=True, show=False)
    assert load_model_folder(tmp_path / "run/model")
    if lost == "config.json":
        assert (tmp_path / "run/model" / lost).read_bytes() == before


def test_a_damaged_record_can_be_made_again(tmp_path):
    record = train(recipe(epochs=1), tmp_path / "run", show=False)
    path = tmp_path / "run/record.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(RunError, match=r"record\.json: cannot read the record; .*remove it and resume"):
        train(recipe(epochs=1), tmp_path / "run", resume=True, show=False)
    path.unlink()
    again = train(recipe(epochs=1), tmp_path / "run", resume=True, show=False)
    assert (again.top1, again.train_loss) == (record.top1, record.train_loss)


@pytest.mark.parametrize(
    ("settings", "signed", "refused"),
    [
        ({"method": "refocus", "space": "gradient"}, True, True),
        ({"method": "refocus", "space": "gradient", "momentum": 0.0}, True, False),
        ({"method": "plain", "opt": "adamw"}, False, True),
        ({"method": "plain", "momentum": 0.0}, False, False),
    ],
    ids=["gradient", "gradient without momentum", "adamw, no digest", "without momentum, no digest"],
)
def test_a_checkpoint_whose_optimizer_remembers_nothing_is_refused(settings, signed, refused, tmp_path):
    quick = recipe(**settings, epochs=1, epoch_steps=2, model_kwargs={"width": 0.125}, lr=0.01, test=False)
    train(quick, tmp_path / "run", show=False)
    (tmp_path / "run/record.json").unlink()
    path = tmp_path / "run/checkpoint.pt"
    content = torch.load(path, weights_only=True)
    del content[DIGEST]
    for entry in content["optimizer"]["state"].values():  # bases are no memory of steps
        for name in entry.keys() - {"base"}:
            del entry[name]
    torch.save(with_digest(content) if signed else content, path)
    said = nullcontext() if signed else pytest.warns(RefconvWarning, match="kept no digest")
    words = r"checkpoint\.pt: the state of the optimizer is empty; expected that of 2 steps, found none; copy the file"
    with said, pytest.raises(CheckpointError, match=words) if refused else nullcontext():
        train(quick, tmp_path / "run", resume=True, show=False)
    assert (tmp_path / "run/record.json").exists() != refused


def test_resuming_without_a_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="nothing to resume"):
        train(recipe(), tmp_path / "run", resume=True, show=False)
    assert not (tmp_path / "run").exists()


def test_resuming_with_other_settings_is_refused(tmp_path):
    train(recipe(epochs=1), tmp_path / "run", show=False)
    with pytest.raises(RunError, match="other settings; expected lr=0.1, epochs=1, found lr=0.2, epochs=3"):
        train(recipe(epochs=3, lr=0.2), tmp_path / "run", resume=True, show=False)


def test_resuming_from_a_truncated_checkpoint_is_refused(tmp_path):
    train(recipe(epochs=1), tmp_path / "run", show=False)
    path = tmp_path / "run/checkpoint.pt"
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt: damaged"):
        train(recipe(epochs=1), tmp_path / "run", resume=True, show=False)
    assert (tmp_path / "run/model/model.safetensors").exists()


def test_a_loss_that_is_not_finite_stops_at_its_step_and_keeps_the_last_good_checkpoint(tmp_path, monkeypatch):
    step = Stepper.step

    def poisoned(self, number, parts):
        if number == 16:
            parts[0][0].fill_(float("nan"))
        return step(self, number, parts)

    monkeypatch.setattr(Stepper, "step", poisoned)
    with pytest.raises(TrainingError, match="step 17: the loss is not finite; the checkpoint of step 11 is kept"):
        train(recipe(epochs=3), tmp_path / "run", show=False)
    checkpoint = Checkpoint.load(tmp_path / "run/checkpoint.pt")
    assert checkpoint.step == 11
    assert all(bool(value.isfinite().all()) for value in checkpoint.model.values())
    monkeypatch.setattr(Stepper, "step", step)
    assert train(recipe(epochs=3), tmp_path / "run", resume=True, show=False).steps == 33


def test_a_weight_that_is_not_finite_reaches_no_checkpoint(tmp_path, monkeypatch):
    step = Stepper.step

    def poisoned(self, number, parts):
        loss = step(self, number, parts)
        if number == 21:
            next(self.model.parameters()).data.fill_(float("inf"))
        return loss

    monkeypatch.setattr(Stepper, "step", poisoned)
    words = r"step 22: a weight \(.*\) is not finite; the checkpoint of step 11 is kept"
    with pytest.raises(TrainingError, match=words):
        train(recipe(epochs=3), tmp_path / "run", show=False)
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").step == 11


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_writes_a_checkpoint_and_says_how_to_go_on(number, tmp_path, monkeypatch):
    write = Metrics.write

    def interrupted(self, kind, *, step, **numbers):
        write(self, kind, step=step, **numbers)
        if step == 16:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(Metrics, "write", interrupted)
    monkeypatch.setattr("refconv.engine.epochs.PATIENCE", 600.0)  # also where a step takes long
    word = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
    with pytest.raises(StoppedError, match=f"run: stopped by {word} at step 17 of 33; .*continue with --resume"):
        train(recipe(epochs=3), tmp_path / "run", show=False)
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").step == 17


def test_a_disk_that_fills_up_leaves_the_last_checkpoint_and_the_run_goes_on_later(tmp_path, monkeypatch):
    fsync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 12:
            raise OSError(28, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RunError, match="cannot write; found No space left on device; .*--resume"):
        train(recipe(epochs=4, checkpoint_interval=5), tmp_path / "run", show=False)
    monkeypatch.setattr(os, "fsync", fsync)
    assert 0 < Checkpoint.load(tmp_path / "run/checkpoint.pt").step < 44
    resumed = train(recipe(epochs=4, checkpoint_interval=5), tmp_path / "run", resume=True, show=False)
    assert resumed.steps == 44
    steps = [row["step"] for row in read_metrics(tmp_path / "run/metrics.jsonl", "train")]
    assert steps == sorted(set(steps))


def test_the_test_split_is_read_once_at_the_end(tmp_path, monkeypatch):
    from refconv.data.memory import MemoryData

    read, steps = [], []
    batches, step = MemoryData.eval_batches, Stepper.step
    monkeypatch.setattr(
        MemoryData,
        "eval_batches",
        lambda self, split, **kw: read.append((split, len(steps))) or batches(self, split, **kw),
    )
    monkeypatch.setattr(Stepper, "step", lambda self, n, parts: steps.append(n) or step(self, n, parts))
    train(recipe(val_split=0.1), tmp_path / "run", show=False)
    assert [entry for entry in read if entry[0] == "test"] == [("test", 20)]


def test_the_record_is_the_last_file_to_appear(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise RunError("full")

    monkeypatch.setattr("refconv.engine.loop.save_model_folder", fail)
    with pytest.raises(RunError, match="full"):
        train(recipe(epochs=1), tmp_path / "run", show=False)
    assert not (tmp_path / "run/record.json").exists()
    monkeypatch.undo()
    record = train(recipe(epochs=1), tmp_path / "run", resume=True, show=False)
    assert json.loads((tmp_path / "run/record.json").read_text())["top1"] == record.top1
    assert len(read_metrics(tmp_path / "run/metrics.jsonl", "test")) == 1


class GivenUpError(Exception):
    """In place of the end of the process."""


@pytest.mark.parametrize("interval", [1, 10], ids=["each-checked", "as-on-an-accelerator"])
@pytest.mark.parametrize("saved", [True, False], ids=["buffers-kept", "short-steps"])
def test_sigterm_in_a_step_without_end_loses_that_step_or_says_how_many(saved, interval, tmp_path, monkeypatch):
    run_epoch = Loop._run_epoch

    def checking_less_often(self, epoch):
        self._check_interval = interval
        run_epoch(self, epoch)

    monkeypatch.setattr(Loop, "_run_epoch", checking_less_often)
    step, left, words = Stepper.step, threading.Event(), []

    def endless(self, number, parts):
        if number == 14:
            self.model.train()(parts[0][0])  # moves the statistics of batch norms
            os.kill(os.getpid(), signal.SIGTERM)
            assert left.wait(60)
            raise GivenUpError
        return step(self, number, parts)

    def leave(said):
        words.append(said)
        left.set()

    monkeypatch.setattr(Stepper, "step", endless)
    monkeypatch.setattr("refconv.engine.epochs.leave", leave)
    monkeypatch.setattr("refconv.engine.epochs.PATIENCE", 0.0)
    monkeypatch.setattr("refconv.engine.epochs._SHORT_STEP", 0.0 if saved else 1e9)
    with pytest.raises(GivenUpError):
        train(recipe(), tmp_path / "run", show=False)
    (said,) = words
    assert "run: stopped by SIGTERM at step 14 of 22, in the middle of the next one; " in said
    if saved:
        assert said.endswith("the checkpoint is written: continue with --resume")
    else:
        assert said.endswith("continue with --resume from the checkpoint of step 11; 3 steps are lost")
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").step == (14 if saved else 11)
    monkeypatch.setattr(Stepper, "step", step)
    train(recipe(), tmp_path / "run", resume=True, show=False)
    train(recipe(), tmp_path / "whole", show=False)
    same_result(tmp_path / "whole", tmp_path / "run")


def test_a_signal_at_the_end_of_an_epoch_does_not_wait_for_its_validation(tmp_path, monkeypatch):
    step, settings = Stepper.step, {"val_split": 0.1, "epochs": 3}

    def signalled(self, number, parts):
        if number == 9:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, number, parts)

    monkeypatch.setattr(Stepper, "step", signalled)
    monkeypatch.setattr("refconv.engine.epochs.PATIENCE", 600.0)  # also where a step takes long
    with pytest.raises(StoppedError, match="stopped by SIGTERM at step 10 of 30"):
        train(recipe(**settings), tmp_path / "run", show=False)
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").validation == []
    monkeypatch.setattr(Stepper, "step", step)
    resumed = train(recipe(**settings), tmp_path / "run", resume=True, show=False)
    whole = train(recipe(**settings), tmp_path / "whole", show=False)
    assert resumed.validation == whole.validation
    same_result(tmp_path / "whole", tmp_path / "run")


def folder_of(tmp_path, name):
    """Write a folder of images of two classes."""
    for index, part in enumerate(("train/a", "train/b", "test/a", "test/b")):
        (tmp_path / name / part).mkdir(parents=True)
        for number in range(4):
            Image.new("RGB", (8, 8), (60 * index, 9 * number, 90)).save(tmp_path / name / part / f"{number}.png")


@pytest.mark.parametrize("place", ["data_dir", "data"])
def test_a_run_goes_on_with_data_that_moved(place, tmp_path, monkeypatch):
    folder_of(tmp_path / "before", "images")
    settings = {"data": "folder:images", "img_size": 8, "batch_size": 4, "workers": 0}
    first = recipe(data_dir=str(tmp_path / "before"), **settings)
    write = Metrics.write

    def interrupted(self, kind, *, step, **numbers):
        write(self, kind, step=step, **numbers)
        if kind == "start":
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(Metrics, "write", interrupted)
    with pytest.raises(StoppedError, match="at step 1 of 4"):
        train(first, tmp_path / "run", show=False)
    monkeypatch.undo()
    (tmp_path / "before").rename(tmp_path / "after")
    with pytest.raises(DataError, match="if the data has moved .* resume with --data-dir FOLDER or --data folder:PATH"):
        train(first, tmp_path / "run", resume=True, show=False)
    there = (
        {"data_dir": str(tmp_path / "after")} if place == "data_dir" else {"data": f"folder:{tmp_path}/after/images"}
    )
    moved = dataclasses.replace(first, **{"data_dir": None, **there})
    assert train(moved, tmp_path / "run", resume=True, show=False).steps == 4
    assert Recipe.from_toml(tmp_path / "run/recipe.toml") == moved


def test_other_data_than_before_is_refused(tmp_path):
    for name in ("one", "other"):
        folder_of(tmp_path, name)
    Image.new("RGB", (8, 8)).save(tmp_path / "other/train/b/4.png")
    settings = {"img_size": 8, "batch_size": 4, "workers": 0, "epochs": 1}
    train(recipe(data=f"folder:{tmp_path}/one", **settings), tmp_path / "run", show=False)
    (tmp_path / "run/record.json").unlink()
    with pytest.raises(
        RunError, match="the data is not what the run was started with; expected train_size=8, found train_size=9"
    ):
        train(recipe(data=f"folder:{tmp_path}/other", **settings), tmp_path / "run", resume=True, show=False)


@pytest.mark.parametrize("content", ["[]", "3", '{"model": []}', "null"])
def test_a_record_that_is_no_record_is_said_in_one_line(content, tmp_path):
    train(recipe(epochs=1), tmp_path / "run", show=False)
    (tmp_path / "run/record.json").write_text(content)
    with pytest.raises(RunError, match=r"record\.json: cannot read the record; .*remove it and resume"):
        train(recipe(epochs=1), tmp_path / "run", resume=True, show=False)


NETS = """
    import torch
    from typing import NamedTuple
    from torch import nn

    class Outputs(NamedTuple):
        logits: torch.Tensor
        aux: torch.Tensor

    class Net(nn.Sequential):
        def __init__(self, num_classes=3, in_chans=3, kind="plain"):
            super().__init__(nn.Conv2d(in_chans, 4, 8), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, num_classes))
            self.kind = kind

        def forward(self, x):
            logits = super().forward(x)
            if not self.training or self.kind == "plain":
                return logits
            return Outputs(logits, 2 * logits) if self.kind == "tuple" else {"logits": logits}
"""


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"batch_size": 1}, "batch_size: batch norm cannot train on one value .*at least 2 .*norm_statistics = keep"),
        ({"batch_size": 4, "grad_accum_steps": 4}, "batch_size: batch norm cannot train .*fewer grad_accum_steps"),
        (
            {"model_kwargs": {"kind": "dict"}},
            "model: the model's outputs in training mode are not logits; .*found dict",
        ),
    ],
    ids=["one", "one-of-four", "dict"],
)
def test_what_cannot_train_is_said_before_anything_is_written(settings, words, tmp_path, monkeypatch):
    (tmp_path / "aux_nets.py").write_text(textwrap.dedent(NETS))
    monkeypatch.chdir(tmp_path)
    with pytest.raises((RecipeError, ModelError), match=words) as caught:
        train(recipe(**{"model": "aux_nets:Net", "model_kwargs": {}, **settings}), tmp_path / "run", show=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_auxiliary_classifiers_train_and_a_batch_of_one_does_with_fixed_statistics(tmp_path, monkeypatch):
    (tmp_path / "aux_nets.py").write_text(textwrap.dedent(NETS))
    monkeypatch.chdir(tmp_path)
    settings = {"model": "aux_nets:Net", "model_kwargs": {"kind": "tuple"}, "epochs": 1, "epoch_steps": 4}
    assert train(recipe(**settings), tmp_path / "run", show=False).steps == 4
    fixed = recipe(**settings, method="norm_fold", batch_size=4, grad_accum_steps=4, lr=0.001)
    assert train(fixed, tmp_path / "fixed", show=False).steps == 4


def test_trying_a_model_in_training_mode_leaves_its_statistics_alone():
    from refconv.engine.setup import open_setup
    from refconv.methods.registry import method_of
    from refconv.process.distributed import Processes

    model = open_setup(method_of(recipe()), Processes(0, 1, torch.device("cpu"))).model
    counts = [value for name, value in model.named_buffers() if name.endswith("num_batches_tracked")]
    assert counts
    assert not any(counts)
    assert all(bool((value == 0).all()) for name, value in model.named_buffers() if name.endswith("running_mean"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"lr": 0.0}, "training has not changed the weights: look at the weights, the data and their normalisation"),
        ({"lr": 0.1}, "lower the learning rate, lengthen the warm-up or clip gradients"),
    ],
)
def test_a_lower_rate_is_advised_only_where_the_rate_is_to_blame(settings, words, tmp_path, monkeypatch):
    step = Stepper.step

    def poisoned(self, number, parts):
        parts[0][0].fill_(float("nan" if number == 12 else "0"))
        return step(self, number, parts)

    monkeypatch.setattr(Stepper, "step", poisoned)
    with pytest.raises(TrainingError, match=f"step 13: the loss is not finite; .* is kept; {words}$"):
        train(recipe(epochs=2, **settings), tmp_path / "run", show=False)


@pytest.mark.parametrize(("split", "step", "kept"), [("validation", 20, 10), ("end", 20, 10), ("test", 20, 20)])
def test_a_loss_of_an_evaluation_that_is_not_finite_stops_the_run(split, step, kept, tmp_path, monkeypatch):
    def diverged(self, model, data, part, **rest):
        found = honest(self, model, data, part, **rest)
        evaluated.append(part)
        # The validation split is seen at the start, after each of two epochs and at the end, then the test split.
        broken = len(evaluated) == {"validation": 3, "end": 4, "test": 5}[split]
        return dataclasses.replace(found, loss=math.nan) if broken else found

    honest, evaluated = Classification.evaluate, []
    monkeypatch.setattr(Classification, "evaluate", diverged)
    which = "test" if split == "test" else "validation"
    words = f"step {step}: the loss on the {which} split is not finite; the checkpoint of step {kept} is kept"
    with pytest.raises(TrainingError, match=words):
        train(recipe(val_split=0.1), tmp_path / "run", show=False)
    assert evaluated[-1] == ("test" if split == "test" else "val")
    assert Checkpoint.load(tmp_path / "run/checkpoint.pt").step == kept
    assert not (tmp_path / "run/record.json").exists()


def test_a_start_that_is_not_finite_stops_before_the_first_step(tmp_path, monkeypatch):
    honest = Classification.evaluate
    monkeypatch.setattr(
        Classification, "evaluate", lambda *given, **rest: dataclasses.replace(honest(*given, **rest), loss=math.inf)
    )
    with pytest.raises(TrainingError, match="step 0: the loss is not finite; .*training has not changed the weights"):
        train(recipe(), tmp_path / "run", show=False)


@pytest.mark.parametrize(("parts", "warmup"), [(1, {}), (2, {"warmup_epochs": 1, "warmup_prefix": True})])
def test_an_epoch_has_the_steps_that_are_asked_for_on_samples_drawn_anew(parts, warmup, tmp_path, monkeypatch):
    seen, rates = [], []
    step = Stepper.step

    def noted(self, number, batches):
        loss = step(self, number, batches)
        seen.append([samples for samples, _ in batches])
        rates.append(self.lr)
        return loss

    monkeypatch.setattr(Stepper, "step", noted)
    asked = recipe(epochs=3, epoch_steps=4, val_split=0.1, grad_accum_steps=parts, log_interval=4, **warmup)
    record = train(asked, tmp_path / "run", show=False)
    epochs = 3 + bool(warmup)
    assert (record.epochs, record.steps, record.samples_seen) == (epochs, 4 * epochs, 4 * epochs * 128)
    assert [(point.epoch, point.step) for point in record.validation] == [(n, 4 * n) for n in range(1, epochs + 1)]
    rows = read_metrics(tmp_path / "run/metrics.jsonl", "train")
    assert [(row["step"], row["epoch"]) for row in rows] == [(4 * n, n) for n in range(1, epochs + 1)]
    # The steps of an epoch are the first ones of the whole epoch's, in its order.
    data = open_data("digits", val_split=0.1)
    for epoch in range(epochs):
        batches = list(data.train_batches(seed=0, epoch=epoch, batch_size=128 // parts))[: 4 * parts]
        taken = [part for step_parts in seen[4 * epoch : 4 * epoch + 4] for part in step_parts]
        assert all(torch.equal(one, other) for one, (other, _) in zip(taken, batches, strict=True))
    # The schedule counts these steps: it ends just above its minimum.
    assert rates[-1] == pytest.approx(asked.lr * (1 + math.cos(math.pi * (11 / 12))) / 2)


def test_an_epoch_of_all_its_steps_is_a_whole_one(tmp_path):
    records = [train(recipe(epoch_steps=steps), tmp_path / str(steps), show=False) for steps in (None, 11)]
    assert records[0].steps == records[1].steps == 22
    same_result(tmp_path / "None", tmp_path / "11")


@pytest.mark.parametrize(
    ("settings", "steps"), [({}, 11), ({"val_split": 0.2}, 8), ({"grad_accum_steps": 4}, 11), ({"batch_size": 4000}, 1)]
)
def test_more_steps_than_an_epoch_has_are_refused(settings, steps, tmp_path):
    words = f"epoch_steps: an epoch has not so many samples; expected at most {steps} steps of .*, found {steps + 1}"
    with pytest.raises(RecipeError, match=words):
        train(recipe(epoch_steps=steps + 1, **settings), tmp_path / "run", show=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "plain"},
        {"method": "refocus", "space": "kernel"},
        {"method": "refocus", "space": "gradient", "opt": "lookahead_sgd"},
        {"method": "refocus", "space": "kernel", "model_ema": True, "model_ema_decay": 0.9},
        {"method": "plain", "model_ema": True, "model_ema_decay": 0.9, "train": "refocus+head"},
    ],
    ids=["plain", "kernel space", "gradient space", "average in kernel space", "average"],
)
def test_snapshots_are_the_weights_at_the_end_of_the_last_epochs(settings, tmp_path, monkeypatch):
    ends = []
    validate = Loop._validate

    def noted(self, epoch):
        ends.append(plain_state_dict(self.stepper.model))
        validate(self, epoch)

    monkeypatch.setattr(Loop, "_validate", noted)
    train(recipe(epochs=4, epoch_steps=3, snapshots=2, **settings), tmp_path / "run", show=False)
    files = sorted((tmp_path / "run/snapshots").iterdir())
    assert [file.name for file in files] == ["epoch-0003.pth", "epoch-0004.pth"]
    for file, expected in zip(files, ends[2:], strict=True):
        found = read_weights(file)
        assert list(found) == list(expected)
        assert all(torch.equal(value, expected[name]) for name, value in found.items())
    shipped, last = read_weights(tmp_path / "run/model"), read_weights(files[-1])
    assert shipped.keys() == last.keys()
    same = [torch.equal(value, shipped[name]) for name, value in last.items()]
    assert not all(same) if settings.get("model_ema") else all(same)


@pytest.mark.parametrize(("asked", "kept"), [(0, None), (1, [2]), (9, [1, 2])])
def test_as_many_snapshots_are_kept_as_there_are_epochs(asked, kept, tmp_path):
    train(recipe(epoch_steps=1, snapshots=asked), tmp_path / "run", show=False)
    folder = tmp_path / "run/snapshots"
    assert folder.is_dir() == (kept is not None)
    assert kept is None or sorted(file.name for file in folder.iterdir()) == [f"epoch-{n:04}.pth" for n in kept]
