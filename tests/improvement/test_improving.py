"""The whole job on small networks, interrupted and continued, with good and bad input."""

import dataclasses
import json
import os
import signal
import time

import numpy as np
import pytest
import safetensors
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

import refconv
from ready_processes import Script, run_script
from refconv.data.opening import open_data
from refconv.data.scenes import make_scenes
from refconv.digests import with_digest
from refconv.engine import Recipe, train
from refconv.errors import DataError, ModelError, RunError, SettingError
from refconv.improvement import Budget, ImproveConfig, ImproveRecord, improve_recipe, looking
from refconv.improvement.looking import Look, completed, open_base, planned, said
from refconv.improvement.own import _check_apart
from refconv.improvement.scoring import score
from refconv.models.metadata import certificate_hash
from refconv.models.model_folder import load_model_folder
from refconv.models.opening import open_model
from refconv.named_code import trusting
from refconv.studies import estimate, executors
from refconv.studies.execution import Outcome, execute
from refconv.studies.local import SerialExecutor
from refconv.tasks.model_data import data_for
from refconv.tasks.registry import task_named

NETWORK = {
    "model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.5, "strides": [1, 2]},
    "workers": 0, "device": "cpu",
}  # fmt: skip


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """Return the folder of a network that is not finished, beside a few digits that it was trained on."""
    folder = tmp_path_factory.mktemp("bases") / "base"
    images, labels = load_digits(return_X_y=True)
    images = (images / 16).astype(np.float32).reshape(-1, 1, 8, 8)
    first, then = slice(400), slice(400, 700)
    np.savez(
        folder.with_name("digits.npz"),
        x_train=images[first], y_train=labels[first], x_test=images[then], y_test=labels[then],
    )  # fmt: skip
    train(recipe(folder, checkpoint=None, epochs=4, lr=0.1, test=False), folder, show=False)
    return folder


def data_of(base):
    return f"arrays:{base.with_name('digits.npz')}"


def recipe(base, **settings):
    common = {**NETWORK, "data": data_of(base), "batch_size": 32, "val_split": 0.3}
    return Recipe.from_mapping({**common, "checkpoint": str(base), **settings})


def improve(recipe, out, config):
    """Improve a network in batches of the recipe's size."""
    return improve_recipe(recipe, out, config, given=("batch_size",))


def config(budget="9ep", **settings):
    return ImproveConfig(budget=Budget.parse(budget), show=False, **settings)


@pytest.fixture(scope="module")
def improved(base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("improved") / "out"
    record = improve(recipe(base), folder, config("6ep", contenders=("plain", "refocus")))
    return folder, record


def test_a_network_that_is_not_finished_gets_better(improved):
    folder, record = improved
    assert record.gain.value > 0
    assert record.gain.clear
    assert record.verdict.startswith(f"top-1 {100 * record.tested.base.value:.2f} to ")
    assert "At equal cost, the best refocused run minus" in record.verdict
    assert record.certificate.same_structure
    assert ImproveRecord.read(folder / "improve.json") == record
    assert sorted(path.name for path in folder.iterdir() if path.name != ".lock") == [
        "improve.json", "journal.jsonl", "model", "plan.json", "report.html", "runs", "test.json",
    ]  # fmt: skip


def test_the_result_is_what_was_tested(improved, base):
    folder, record = improved
    opened = open_model(str(folder / "model"))
    found = task_named("classification").evaluate(opened.model, data_for(opened, data_of(base)), "test", batch_size=64)
    assert found.measures()["top1"] == pytest.approx(record.tested.winner.value)


def test_the_budget_is_kept_by_all_runs_together(improved):
    _, record = improved
    assert 0.8 * record.plan.samples < record.samples_seen <= record.plan.samples
    assert record.plan.samples == 6 * record.plan.train_samples
    assert len(record.tried) == sum(one.entries for one in record.plan.rounds)


def test_checkpoints_are_cleared_away_and_the_journal_has_every_run(improved):
    folder, record = improved
    assert not list(folder.rglob("checkpoint.pt"))
    noted = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    assert len(noted) == len(record.tried)


def test_the_same_call_finds_everything_done(improved, base, monkeypatch, capsys):
    folder, record = improved
    monkeypatch.setattr("refconv.studies.execution.execute", lambda *_: pytest.fail("a run was started again"))
    wanted = dataclasses.replace(config("6ep", contenders=("plain", "refocus")), show=True)
    again = improve(recipe(base), folder, wanted)
    assert capsys.readouterr().out.startswith(f"{folder}: going on with the plan in plan.json\n")
    assert (again.winner, again.tested, again.verdict) == (record.winner, record.tested, record.verdict)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"budget": "25ep"}, "budget=6 epochs, found budget=25 epochs"),
        ({"contenders": ("plain",)}, r"contenders=\('plain', 'refocus'\), found contenders=\('plain',\)"),
    ],
)
def test_other_settings_are_refused_in_the_same_folder(improved, base, changed, words):
    folder, _ = improved
    settings = {"budget": "6ep", "contenders": ("plain", "refocus"), **changed}
    with pytest.raises(RunError, match=words):
        improve(recipe(base), folder, config(**settings))


def test_a_crashed_contender_leaves_the_others(base, tmp_path, monkeypatch):
    def crash(run, keep):
        if run.method == "refocus":
            return Outcome("failed", f"{run.folder}: boom")
        return execute(run, keep)

    monkeypatch.setattr("refconv.studies.execution.execute", crash)
    record = improve(recipe(base), tmp_path / "out", config("3ep", contenders=("plain", "refocus")))
    assert next(one.message for one in record.tried if one.entry.contender == "refocus").endswith("boom")
    assert record.refocused is None
    assert record.refocusing is None
    assert "At equal cost" not in record.verdict


def test_diverged_runs_are_out(base, tmp_path):
    with pytest.raises(
        RunError, match="no run of the round left a result; found all of them diverged; give a lower --lr"
    ):
        improve(recipe(base, lr=1e9), tmp_path / "out", config(contenders=("plain",), budget="3ep"))


def test_a_dry_run_trains_and_writes_nothing(base, tmp_path, capsys):
    wanted = ImproveConfig(budget=Budget.parse("60ep"), dry_run=True)
    assert improve_recipe(recipe(base), tmp_path / "out", wanted) is None
    assert not (tmp_path / "out").exists()
    said = capsys.readouterr().out
    for words in (
        "base: top-1",
        "120 validation samples",
        "300 test samples",
        "round 2: 2 runs",
        "ms of a step of 8 samples: plain ",
        # The default rate, 0.01, is a quarter for a quarter of the recipe's batch.
        "learning rates: plain 0.0025, 0.00075, 0.0075; refocus 0.0075, 0.025; slow-kernels 0.0075",
    ):
        assert words in said


def test_images_that_a_layer_steps_over_are_said_before_anything_is_trained(base, tmp_path, capsys):
    settings = ImproveConfig(budget=Budget.parse("9ep"), check=False, dry_run=True)
    improve(recipe(base, img_size=1), tmp_path / "out", settings)
    assert "warning: images of 1 x 1 are smaller than the total stride" in capsys.readouterr().out


def test_a_network_at_chance_is_refused_before_anything_is_trained(base, tmp_path):
    model = load_model_folder(base / "model")
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].view_as(parameter))
    torch.save(model.state_dict(), tmp_path / "broken.pth")
    wanted = recipe(base, checkpoint=str(tmp_path / "broken.pth"))
    with pytest.raises(ModelError, match=r"at chance for 10 classes.*--no-check"):
        improve(wanted, tmp_path / "out", config())
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize(
    ("settings", "error", "words"),
    [
        ({"checkpoint": None}, SettingError, "improve needs a trained network"),
        ({"method": "refocus"}, SettingError, "improve chooses the method itself"),
    ],
)
def test_what_improve_decides_is_refused(base, tmp_path, settings, error, words):
    with pytest.raises(error, match=words):
        improve(recipe(base, **settings), tmp_path / "out", config())


@pytest.mark.parametrize("dry_run", [False, True])
def test_the_folder_of_a_run_is_not_taken_for_an_improvement(base, dry_run):
    before = sorted(base.iterdir())
    with pytest.raises(RunError, match="the folder of a run; give another folder"):
        improve(recipe(base), base, dataclasses.replace(config(), dry_run=dry_run))
    assert sorted(base.iterdir()) == before


def test_a_budget_below_a_step_is_refused(base, tmp_path):
    with pytest.raises(
        SettingError, match="the budget does not suffice for a step; expected at least 32 samples, found 10"
    ):
        improve(recipe(base), tmp_path / "out", config("10 samples"))


def test_a_contender_without_a_match_is_refused_before_the_network_is_measured(base, tmp_path, monkeypatch):
    monkeypatch.setattr("refconv.improvement.improving.open_base", lambda *_: pytest.fail("the network was opened"))
    with pytest.raises(SettingError, match="matches no contender"):
        improve(recipe(base), tmp_path / "out", config(contenders=("plane",)))


def test_a_budget_of_time_is_for_starting_and_judging_too(base):
    """Steps of the plan, and what lies beside them, take the time that was given."""
    wanted = completed(recipe(base), ("batch_size",))
    setup = open_base(wanted)
    judged = score(setup.model, setup, "val")
    slow, fast = (Look(judged, None, (), seconds, seconds) for seconds in (0.5, 0.0))
    planned_in = [planned(setup, wanted, config("60s", contenders=("plain",)), look, 1) for look in (slow, fast)]
    assert slow.beside_training(planned_in[0].rounds) == 3 * (0.5 + 0.5) + 3 * 3 * 3 * 0.5  # three runs at once
    assert [plan.seconds for plan in planned_in] == pytest.approx([60, 60], rel=0.01)
    in_epochs = [planned(setup, wanted, config("60ep", contenders=("plain",)), look, 1) for look in (slow, fast)]
    assert in_epochs[0].samples == in_epochs[1].samples
    assert in_epochs[0].seconds > 10


@pytest.mark.parametrize("budget", ["9ep", "2k samples", "10m"])
def test_the_plan_says_which_budget_tries_all_contenders(base, budget, monkeypatch):
    monkeypatch.setattr(looking, "step_seconds", lambda recipes, turns: {name: [1.0] for name in recipes})
    wanted = completed(recipe(base), ("batch_size",))
    setup = open_base(wanted)
    look = Look(score(setup.model, setup, "val"), None, (), 0.5, 0.5)
    plan = planned(setup, wanted, config(budget), look, 1)
    assert plan.waiting
    (line,) = [line for line in said(plan) if line.startswith("the budget does not suffice for: ")]
    assert line.endswith(f"{plan.waiting[-1]}; a budget of about {plan.enough} tries all contenders")
    whole = planned(setup, wanted, config(plan.enough), look, 1)
    assert (whole.waiting, whole.enough) == ((), "")
    assert not any("suffice" in line for line in said(whole))
    enough = Budget.parse(plan.enough)
    less = Budget(0.9 * enough.amount, enough.unit)
    assert planned(setup, wanted, ImproveConfig(budget=less, show=False), look, 1).waiting


def test_a_search_that_is_behind_its_plan_says_so(base, tmp_path, monkeypatch, capsys):
    moments = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(estimate, "now", lambda: float(next(moments)))
    wanted = ImproveConfig(budget=Budget.parse("600 samples"), contenders=("plain",))
    improve(recipe(base), tmp_path / "out", wanted)
    assert capsys.readouterr().out.count("slower than planned: about 17 min in all instead of ") == 1


def test_validation_samples_are_set_aside_and_batches_made_small_enough(base, tmp_path):
    wanted = Recipe.from_mapping({**NETWORK, "data": "digits", "checkpoint": str(base)})
    record = improve_recipe(wanted, tmp_path / "out", config("600 samples", contenders=("plain",)))
    assert record.plan.recipe["val_split"] == 0.1
    assert record.plan.recipe["batch_size"] == 32  # 40 steps of 1,294 samples; 80 would be further from 50


def loader(base, split):
    data = open_data(data_of(base), val_split=0.3)
    inputs, labels = next(iter(data.eval_batches(split, batch_size=10_000)))
    return DataLoader(TensorDataset(inputs, labels), batch_size=32)


def test_a_module_is_improved_on_loaders(base, tmp_path, capsys):
    model = load_model_folder(base / "model")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    loaders = [loader(base, split) for split in ("train", "val", "test")]
    record = refconv.improve(
        model, *loaders, out=tmp_path / "out", budget="3ep", contenders=("plain", "refocus"), device="cpu"
    )
    said = capsys.readouterr().out
    assert f"{type(model).__name__}/plain" in said
    assert "handed_over" not in said
    assert record.gain.value > 0
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())
    model.eval()
    inputs, labels = loaders[2].dataset.tensors
    assert (model(inputs).argmax(1) == labels).float().mean().item() == pytest.approx(record.tested.winner.value)
    again = refconv.improve(
        load_model_folder(base / "model"), *loaders, out=tmp_path / "out", budget="3ep",
        contenders=("plain", "refocus"), device="cpu", show=False,
    )  # fmt: skip
    assert again.tested == record.tested
    result = {name: value.clone() for name, value in model.state_dict().items()}
    twice = refconv.improve(  # with the weights of the result, as where a cell of a notebook is run twice
        model, *loaders, out=tmp_path / "out", budget="3ep", contenders=("plain", "refocus"), device="cpu", show=False
    )
    assert (twice.tested, twice.gain, twice.plan) == (record.tested, record.gain, record.plan)
    torch.testing.assert_close(dict(model.state_dict()), result, rtol=0, atol=0)


def test_a_model_that_cannot_be_improved_is_said_in_the_words_of_a_program(base, tmp_path):
    settings = {"out": tmp_path / "out", "budget": "1ep", "show": False, "device": "cpu", "contenders": ("plain",)}
    loaders, model = (loader(base, "train"), loader(base, "val")), load_model_folder(base / "model")
    with pytest.raises(ModelError, match="cannot improve this; expected a torch.nn.Module, found OrderedDict"):
        refconv.improve(model.state_dict(), *loaders, **settings)
    with pytest.raises(ModelError, match="cannot improve a model that is wrapped by DataParallel"):
        refconv.improve(nn.DataParallel(model), *loaders, **settings)
    refocused = load_model_folder(base / "model")
    refconv.refocus(refocused)
    with pytest.raises(ModelError, match=r"the model is refocused; .*merge first: refconv\.merge\(model\)"):
        refconv.improve(refocused, *loaders, **settings)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(ModelError, match="is at chance .*; .*or train it anyway by --no-check, in Python check=False$"):
        refconv.improve(model, *loaders, **settings)
    assert not (tmp_path / "out" / "plan.json").exists()


def parts_of(dataset):
    inner = Subset(dataset, [*range(20, 40)])
    return {
        "same": (dataset, dataset, None),
        "whole and part": (dataset, Subset(dataset, [3, 5]), None),
        "nested": (Subset(dataset, torch.arange(30)), Subset(Subset(inner, [*range(10)]), [9, 2]), None),
        "negative": (Subset(dataset, [-1, 0]), Subset(dataset, [1]), Subset(dataset, [39])),
    }


@pytest.mark.parametrize(
    ("case", "words"),
    [
        ("same", r"train and val: samples in two roles; .*, found the same dataset; .*random_split$"),
        ("whole and part", r"train and val: .*, found 2 in both, the first: 3; split the dataset"),
        ("nested", r"train and val: .*, found 2 in both, the first: 22;"),
        ("negative", r"train and test: .*, found 1 in both, the first: 39; .*random_split, or leave test out$"),
    ],
)
def test_samples_in_two_loaders_are_refused(tmp_path, case, words):
    dataset = TensorDataset(torch.zeros(40, 1, 8, 8), torch.zeros(40, dtype=torch.int64))
    loaders = [None if part is None else DataLoader(part) for part in parts_of(dataset)[case]]
    with pytest.raises(SettingError, match=words):
        refconv.improve(nn.Conv2d(1, 1, 1), *loaders, out=tmp_path / "out", budget="1ep")


def test_parts_of_one_dataset_without_common_samples_are_taken():
    dataset = range(40)
    inner = Subset(dataset, range(20, 40))
    _check_apart({"train": Subset(dataset, range(20)), "val": Subset(inner, [0, 1]), "test": Subset(inner, [2])})
    _check_apart({"train": TensorDataset(torch.zeros(4)), "val": TensorDataset(torch.zeros(4))})


def test_loaders_without_items_are_refused(base, tmp_path):
    class Stream(IterableDataset):
        def __iter__(self):
            yield torch.zeros(1, 8, 8), 0

    model = load_model_folder(base / "model")
    with pytest.raises(DataError, match="map-style dataset"):
        refconv.improve(
            model, DataLoader(Stream()), loader(base, "val"), out=tmp_path / "out", budget="1ep", show=False
        )
    with pytest.raises(SettingError, match=r"val: not a loader; expected a torch.utils.data.DataLoader, found list"):
        refconv.improve(model, loader(base, "train"), [], out=tmp_path / "out", budget="1ep")


def test_an_interrupted_call_goes_on(base, tmp_path):
    out = tmp_path / "out"
    command = [
        "improve", "--model", NETWORK["model"], "--model-kwargs", "width=0.5", "--model-kwargs", "strides=[1,2]",
        "--data", data_of(base), "--checkpoint", str(base), "--val-split", "0.3", "--batch-size", "32",
        "--workers", "0", "--device", "cpu", "--out", str(out), "--budget", "6ep", "--contender", "plain",
    ]  # fmt: skip
    code = "import sys; from refconv.cli import main; sys.exit(main())"
    process = Script(code, *command)
    deadline = time.monotonic() + 120
    while not list(out.glob("runs/*/*/*/record.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait().returncode == -signal.SIGKILL
    finished = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/*/record.json")}
    assert finished
    done = run_script(code, *command)
    assert done.returncode == 0, done.stderr
    assert ImproveRecord.read(out / "improve.json").certificate.same_structure
    assert all(path.stat().st_mtime_ns == before for path, before in finished.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "model", "more"),
    [
        (
            "restoration",
            "refconv.models.restorers:espcn_small",
            {"data": "photographs", "upscale": 2, "patch_size": 32},
        ),
        ("segmentation", "smp:unet", {"backbone": "resnet18", "img_size": 64}),
        ("detection", "detector:fcos", {"backbone": "test_resnet", "img_size": 64}),
    ],
)
def test_every_task_goes_through(task, model, more, tmp_path):
    make_scenes(tmp_path / "scenes", train=24, val=8, test=12, size=64, source="digits")
    settings = {
        "task": task, "model": model, "data": "scenes", "workers": 0, "device": "cpu", "batch_size": 4, **more,
        "data_dir": None if "data" in more else str(tmp_path / "scenes"),
    }  # fmt: skip
    train(Recipe.from_mapping({**settings, "epochs": 1, "test": False}), tmp_path / "base", show=False)
    wanted = Recipe.from_mapping({**settings, "checkpoint": str(tmp_path / "base")})
    record = improve_recipe(wanted, tmp_path / "out", config("4ep", contenders=("plain", "refocus"), teacher="base"))
    assert record.certificate.same_structure
    assert (tmp_path / "out" / "report.html").is_file()
    assert record.gain.low is None or record.gain.low <= record.gain.value


def test_other_weights_are_refused_in_the_same_folder(improved, base, tmp_path):
    folder, _ = improved
    model = load_model_folder(base / "model")
    with torch.no_grad():
        next(model.parameters()).mul_(1.001)
    torch.save(model.state_dict(), tmp_path / "other.pth")
    (tmp_path / "copy").mkdir()
    for name in ("plan.json",):
        (tmp_path / "copy" / name).write_bytes((folder / name).read_bytes())
    plan = json.loads((folder / "plan.json").read_text())
    plan["recipe"]["checkpoint"] = str(tmp_path / "other.pth")
    (tmp_path / "copy" / "plan.json").write_text(json.dumps(with_digest(plan)))
    wanted = recipe(base, checkpoint=str(tmp_path / "other.pth"))
    with pytest.raises(RunError, match="the folder holds an improvement of other weights or on other data"):
        improve(wanted, tmp_path / "copy", config("6ep", contenders=("plain", "refocus")))


def test_another_module_is_refused_in_the_same_folder(base, tmp_path):
    settings = {"out": tmp_path / "out", "budget": "1ep", "contenders": ("plain",), "device": "cpu", "show": False}
    loaders = loader(base, "train"), loader(base, "val")
    refconv.improve(load_model_folder(base / "model"), *loaders, **settings)
    other = load_model_folder(base / "model")
    with torch.no_grad():
        next(other.parameters()).mul_(1.001)
    with pytest.raises(RunError, match="the folder holds an improvement of other weights"):
        refconv.improve(other, *loaders, **settings)


def test_the_result_is_exported_on_request(base, tmp_path):
    wanted = config("1ep", contenders=("plain",), exports=("torchscript",))
    record = improve(recipe(base), tmp_path / "out", wanted)
    (exported,) = record.exports
    assert exported.holds
    assert exported.samples > 1
    with trusting(True):
        assert open_model(str(tmp_path / "out" / "model.torchscript"), exported=True).task == "classification"
    assert ImproveRecord.read(tmp_path / "out" / "improve.json") == record
    assert "export to torchscript" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_a_format_that_is_none_is_refused_at_once():
    with pytest.raises(SettingError, match="format: unknown format; expected onnx, pt2, torchscript, openvino"):
        config("1ep", exports=("onxx",))


def test_the_certificate_compares_with_the_network_that_came_in(improved, base):
    folder, record = improved
    first, second = load_model_folder(base / "model").state_dict(), load_model_folder(folder / "model").state_dict()
    kernels = [name for name, value in first.items() if value.ndim == 4]
    largest = max(float((first[name] - second[name]).abs().max()) for name in kernels)
    assert record.certificate.largest_kernel_difference == pytest.approx(largest)
    with safetensors.safe_open(folder / "model/model.safetensors", "pt") as file:
        assert file.metadata()["certificate"] == certificate_hash(record.certificate.to_dict())


def test_a_model_for_other_classes_is_named_and_the_folder_can_be_used_afterwards(base, tmp_path):
    loaders = [loader(base, split) for split in ("train", "val", "test")]
    wrong = nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    words = "Sequential: the network has a different number of classes in its last layer; expected 10, .*found 5; "
    words += "give a model for the data's classes$"
    with pytest.raises(ModelError, match=words):
        refconv.improve(wrong, *loaders, out=tmp_path / "out", budget="6ep", show=False)
    coloured = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))
    words = "first convolution; expected 1, .*found 3; give loaders of samples of 3 channels, or a network for 1$"
    with pytest.raises(ModelError, match=words):
        refconv.improve(coloured, *loaders, out=tmp_path / "out", budget="6ep", show=False)
    model = load_model_folder(base / "model")
    assert refconv.improve(
        model, *loaders, out=tmp_path / "out", budget="1ep", contenders=("plain",), device="cpu", show=False
    ).certificate.same_structure


def test_a_sampler_or_a_missing_loader_is_refused(base, tmp_path):
    model, data = load_model_folder(base / "model"), loader(base, "train").dataset
    weighted = DataLoader(data, sampler=torch.utils.data.WeightedRandomSampler([1.0] * len(data), 10))
    with pytest.raises(SettingError, match="sampler of its own"):
        refconv.improve(model, weighted, loader(base, "val"), out=tmp_path / "out", budget="1ep")
    with pytest.raises(SettingError, match="val: missing"):
        refconv.improve(model, loader(base, "train"), None, out=tmp_path / "out", budget="1ep")


@pytest.mark.parametrize("what", ["file", "model"])
def test_a_place_that_holds_something_else_is_refused_before_training(what, base, tmp_path):
    out = tmp_path / "out"
    if what == "file":
        out.write_text("mine")
    else:
        (out / "model").mkdir(parents=True)
        (out / "model" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="give another"):
        improve(recipe(base), out, config())
    assert not (tmp_path / "out" / "runs").exists()


class Beside(SerialExecutor):
    """Stands for several processes: holds their runs, and executes the first of them when an end is waited for."""

    def __init__(self, jobs, threads, keep, devices):
        super().__init__(keep)
        self.slots, self.held, self.most = jobs, [], 0

    @property
    def free(self):
        return len(self.held) < self.slots

    def start(self, run):
        self.held.append(run)
        self.most = max(self.most, len(self.held))

    def wait(self, seconds):
        run = self.held.pop(0)
        return [(run, execute(run, self._keep))]


def test_runs_go_to_as_many_processes_as_are_asked_for(base, tmp_path, monkeypatch):
    """What processes do with runs, and where one dies, is tested in tests/studies/test_conduct.py."""
    made = []
    monkeypatch.setattr(executors, "ProcessExecutor", lambda *given: made.append(Beside(*given)) or made[-1])
    record = improve(recipe(base), tmp_path / "out", config("3ep", contenders=("plain",), jobs=2))
    assert [processes.most for processes in made] == [2]
    assert all(one.value is not None for one in record.tried)


@pytest.mark.slow  # each process imports torch and timm
def test_two_runs_at_a_time_with_data_workers(base, tmp_path):
    wanted = recipe(base, workers=1)
    record = improve(wanted, tmp_path / "out", config("3ep", contenders=("plain",), jobs=2))
    assert all(one.value is not None for one in record.tried)


def test_a_module_can_be_its_own_teacher(base, tmp_path):
    model = load_model_folder(base / "model")
    record = refconv.improve(
        model, loader(base, "train"), loader(base, "val"), out=tmp_path / "out", budget="3ep",
        contenders=("plain-taught",), teacher="base", device="cpu", show=False,
    )  # fmt: skip
    assert {one.entry.contender for one in record.tried} == {"plain-taught"}
    assert all(one.value is not None for one in record.tried)
    assert record.tested.split == "val"
