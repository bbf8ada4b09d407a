"""The measured start: on which samples, what it leaves alone, and what is said about it."""

import dataclasses
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from refconv.data import Data
from refconv.digests import with_digest
from refconv.engine import Recipe, RunRecord, train
from refconv.engine.epochs import Loop
from refconv.engine.metrics import Metrics
from refconv.engine.run_record import Course
from refconv.engine.start import at_chance, idle_settings, random_bases
from refconv.methods.registry import method_of
from refconv.models.checkpoint import Checkpoint
from refconv.process.interruption import StoppedError
from refconv.tasks.classification.evaluation import ClassificationEvaluation
from run_checkpoints import save_run, small_recipe
from run_results import read_metrics


def recipe(**settings):
    """Return a quick recipe: 11 steps an epoch, of the digits."""
    return Recipe(**{
        "model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.25}, "data": "digits",
        "opt": "momentum", "epochs": 1, "batch_size": 128, "log_interval": 4, **settings,
    })  # fmt: skip


def test_start_and_end_are_those_of_the_validation_split_and_survive_resumption(tmp_path, monkeypatch):
    settings = {"val_split": 0.1, "method": "refocus", "test": False, "seed": 2}
    whole = train(recipe(epochs=2, **settings), tmp_path / "whole", show=False)
    assert (whole.course.measure, whole.course.split, whole.course.samples) == ("top1", "val", 144)
    assert whole.course.end == whole.validation[-1].top1
    assert RunRecord.read(tmp_path / "whole/record.json").course == whole.course
    rows = read_metrics(tmp_path / "whole/metrics.jsonl")
    assert (rows[0]["kind"], rows[0]["step"], rows[0]["top1"]) == ("start", 0, whole.course.start)

    write, measured = Metrics.write, []

    def failing(self, kind, *, step, **numbers):
        measured.extend([kind] * (kind == "start"))
        if step == 16:
            raise KeyboardInterrupt
        write(self, kind, step=step, **numbers)

    monkeypatch.setattr(Metrics, "write", failing)
    with pytest.raises(StoppedError):
        train(recipe(epochs=2, **settings), tmp_path / "resumed", show=False)
    monkeypatch.setattr(Metrics, "write", write)
    assert Checkpoint.load(tmp_path / "resumed/checkpoint.pt").step == 10
    resumed = train(recipe(epochs=2, **settings), tmp_path / "resumed", resume=True, show=False)
    assert measured == ["start"]
    assert resumed.course == whole.course


def test_measuring_the_start_changes_nothing_that_is_computed(tmp_path, monkeypatch):
    settings = {"method": "refocus", "start": "kaiming", "model_ema": True, "mixup": 0.2}
    with_start = train(recipe(**settings), tmp_path / "with", show=False)
    monkeypatch.setattr(Loop, "_measure_start", lambda self: None)
    without = train(recipe(**settings), tmp_path / "without", show=False)
    assert with_start.course is not None
    assert without.course is None
    one, other = (load_file(tmp_path / name / "model/model.safetensors") for name in ("with", "without"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert with_start.train_loss == without.train_loss


def test_without_a_validation_split_training_samples_are_taken_and_never_the_test_split(tmp_path, monkeypatch, capsys):
    splits, honest = [], Data.eval_batches
    monkeypatch.setattr(
        Data, "eval_batches", lambda self, split, **rest: splits.append(split) or honest(self, split, **rest)
    )
    record = train(recipe(), tmp_path / "run")
    assert splits.count("test") == 1
    assert (record.course.split, record.course.samples) == ("train", 140)  # a tenth of 11 x 128
    out = capsys.readouterr().out.splitlines()
    assert out[1].endswith("on 140 samples of the training split (there is no validation split)")
    assert "(140 training samples" in out[-1]


def test_a_run_that_ends_below_its_start_says_so_last_and_again_when_asked(tmp_path, capsys):
    train(recipe(epochs=4, lr=0.1, val_split=0.1), tmp_path / "base", show=False)
    harmful = recipe(checkpoint=str(tmp_path / "base"), lr=3.0, clip_grad=1.0, val_split=0.1)
    record = train(harmful, tmp_path / "run")
    assert record.course.start > 0.7
    assert record.course.end < record.course.start
    last = capsys.readouterr().out.splitlines()[-1]
    assert "top-1 fell from" in last
    assert f"worse than its start: a lower --lr than 3 may help, written to {tmp_path}/run/model" in last
    train(harmful, tmp_path / "run", resume=True)
    assert capsys.readouterr().out == f"finished before: {last}\n"


def test_a_finished_run_that_has_lost_its_model_or_weights_or_recipe_writes_it_again(tmp_path, capsys):
    record = train(recipe(), tmp_path / "run", show=False)
    weights, settings = tmp_path / "run" / "model" / "model.safetensors", tmp_path / "run" / "recipe.toml"
    whole, said = weights.read_bytes(), settings.read_text()
    for lose in (lambda: shutil.rmtree(weights.parent), weights.unlink):
        lose()
        again = train(recipe(), tmp_path / "run", resume=True)
        assert "finished before" not in capsys.readouterr().out
        assert weights.read_bytes() == whole
        assert (again.top1, again.loss) == (record.top1, record.loss)
    settings.unlink()
    train(recipe(), tmp_path / "run", resume=True)
    assert "finished before" in capsys.readouterr().out
    assert settings.read_text() == said


def test_a_record_of_an_earlier_version_has_no_course(tmp_path):
    record = train(recipe(), tmp_path / "run", show=False)
    content = json.loads(record.to_json())
    del content["course"]
    assert RunRecord.from_dict(content) == dataclasses.replace(record, course=None)


def test_a_checkpoint_of_an_earlier_version_is_resumed(tmp_path):
    train(recipe(), tmp_path / "run", show=False)
    path = tmp_path / "run/checkpoint.pt"
    content = torch.load(path, weights_only=True)
    del content["course"]
    torch.save(with_digest(content), path)
    (tmp_path / "run/record.json").unlink()
    assert train(recipe(), tmp_path / "run", resume=True, show=False).course is None


def test_a_course_is_said_in_the_unit_of_its_measure():
    assert str(Course("psnr", "val", 12, 28.1, 30.25)) == "PSNR from 28.10 dB to 30.25 dB (12 validation samples)"
    assert (
        str(Course("miou", "train", 1000, 0.5, 0.4)) == "mean IoU fell from 50.00% to 40.00% (1,000 training samples)"
    )
    noise = "top-1 from 75.00% to 71.88% (32 validation samples, lower within noise)"
    assert str(Course("top1", "val", 32, 0.75, 0.71875)) == noise


@pytest.mark.parametrize(
    ("measure", "samples", "start", "ends"),
    [
        # Two standard errors are 2 sqrt((0.25 + 0.23) / 100) = 0.1386 near one half.
        ("top1", 100, 0.5, [(0.365, False), (0.36, True)]),
        ("top1", 32, 1.0, [(31 / 32, False), (28 / 32, True)]),
        ("top1", 1000, 0.5, [(0.456, False), (0.455, True)]),
        ("psnr", 12, 30.0, [(29.96, False), (29.94, True)]),
        ("map", 50, 0.2, [(0.3, False), (0.2, False), (None, False)]),
    ],
)
def test_a_run_fell_only_by_more_than_chance_and_one_sample_explain(measure, samples, start, ends):
    assert [(end, Course(measure, "val", samples, start, end).fell) for end, _ in ends] == ends


@pytest.mark.parametrize(
    ("settings", "warned"),
    [
        ({"method": "refocus"}, True),
        ({"method": "refocus", "space": "kernel", "opt": "adamw"}, True),
        ({"method": "refocus", "checkpoint": "w.pth"}, False),
        ({"method": "refocus", "pretrained": True}, False),
        ({"method": "plain"}, False),
    ],
)
def test_refocusing_random_weights_warns(settings, warned):
    assert (random_bases(method_of(recipe(**settings))) is not None) == warned


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"gram_scale": "paper", "power": 0.5}, "warning: the method plain does not read gram_scale, power; --method"),
        ({"method": "norm_fold", "include": ("x",)}, "does not read include"),
        ({"method": "lr_scaled", "gram_scale": "paper"}, None),
        ({"method": "low_rank", "power": 0.5}, "the method low_rank does not read power"),
        ({"method": "refocus", "gram_scale": "paper", "space": "kernel", "opt": "adamw"}, None),
        ({"model_ema_decay": 0.9, "clip_mode": "value"},
         "warning: model_ema_decay has no effect without model_ema; clip_mode has no effect without clip_grad"),
        ({"mixup_prob": 0.1, "power": 0.5}, "refocus does; mixup_prob has no effect without mixup or cutmix"),
        ({"rounds": 3, "space": "kernel", "decay": "none"}, "the method plain does not read rounds, space, decay; --m"),
        ({"method": "scratch", "rounds": 2}, "the method scratch does not read rounds"),
        ({"method": "lr_scaled", "rounds": 2, "decay": "none"}, "the method lr_scaled does not read decay; "),
        ({"method": "refocus", "rounds": 2, "space": "gradient", "decay": "kernel"}, None),
        ({"method": "refocus", "rounds": 2, "space": "kernel", "decay": "none"}, None),
        ({"opt": "adamw", "momentum": 0.5}, "warning: momentum has no effect on the optimizer adamw"),
        ({"opt": "lookahead_adamw", "momentum": 0.5}, "momentum has no effect on the optimizer lookahead_adamw"),
        *(({"opt": opt, "momentum": 0.5}, None) for opt in ("sgd", "lookahead_momentum", "rmsprop", "muon")),
        ({"opt": "adamw"}, None),
        ({"ratio": (0.5, 2.0), "warmup_lr": 0.1, "warmup_prefix": True},
         "ratio has no effect without scale; warmup_lr has no effect without warmup_epochs; warmup_prefix has no"),
        ({"ratio": (0.5, 2.0), "scale": (0.5, 1.0), "warmup_lr": 0.1, "warmup_epochs": 1}, None),
        ({"mixup": 1.0, "mixup_switch_prob": 0.1}, "mixup_switch_prob has no effect without cutmix"),
        ({"mixup_switch_prob": 0.1}, "mixup_switch_prob has no effect without mixup and cutmix"),
        ({"model_ema": True, "model_ema_decay": 0.9, "cutmix": 1.0, "mixup_prob": 0.1}, None),
    ],
)  # fmt: skip
def test_settings_that_nothing_reads_are_said(settings, words):
    found = idle_settings(method_of(recipe(**settings)))
    assert found is None if words is None else words in found


def test_the_warning_is_shown_before_the_start(tmp_path, capsys):
    train(recipe(method="refocus"), tmp_path / "run")
    _, first, second, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("warning: refocusing keeps the kernels it starts from as bases, and these are random")
    assert second.startswith("start: ")


@pytest.mark.parametrize("top1", [0.0, 0.1, 0.11, 0.15, 0.9])
@pytest.mark.parametrize(
    "settings", [{"checkpoint": "a.pth"}, {"pretrained": True}, {"checkpoint": "a.pth", "reset_classifier": True}, {}]
)
def test_a_trained_classifier_that_starts_at_chance_is_warned_about(top1, settings):
    setup = SimpleNamespace(info=SimpleNamespace(num_classes=10), model=nn.Identity(), recipe=recipe(**settings))
    said = at_chance(ClassificationEvaluation(1000, top1, 1.0, 2.3), setup)
    kept = settings in ({"checkpoint": "a.pth"}, {"pretrained": True})
    if kept and top1 < 0.119:  # two standard deviations of 1,000 guesses are 1.9 points
        assert said == (
            f"warning: start {top1:.1%} is at chance for 10 classes: check the class names and the preprocessing"
        )
    else:
        assert said is None


def test_pretrained_weights_given_another_number_of_classes_may_start_at_chance():
    model = nn.Identity()
    model.pretrained_cfg = {"num_classes": 1000}
    setup = SimpleNamespace(info=SimpleNamespace(num_classes=10), model=model, recipe=recipe(pretrained=True))
    assert at_chance(ClassificationEvaluation(1000, 0.1, 0.5, 2.3), setup) is None


def test_a_run_says_that_its_start_is_at_chance(tmp_path, capsys):
    save_run(tmp_path / "base", small_recipe())  # random weights
    train(recipe(checkpoint=str(tmp_path / "base/model")), tmp_path / "run")
    said = capsys.readouterr().out.splitlines()
    started = next(number for number, line in enumerate(said) if line.startswith("start: "))
    assert "is at chance for 10 classes" in said[started + 1]
