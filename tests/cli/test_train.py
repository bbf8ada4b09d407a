"""``refconv train`` from flags to a result, and what it says when it cannot go on."""

import json
import math
import shutil
import signal
import subprocess
import sys

import pytest
import timm
import torch

import timm_networks  # noqa: F401  # lets timm know its network
from ctrl_c import interrupted
from refconv.cli import main, training
from refconv.engine import RunRecord, loop
from refconv.models.checkpoint import Checkpoint
from refconv.models.networks import mobilenet_small
from refconv.process.interruption import SIGNALS
from run_checkpoints import save_run, small_recipe
from run_many import Plain

NET = ["--model", "refconv.models.networks:mobilenet_small", "--model-kwargs", "width=0.25", "--device", "cpu"]
TINY = [*NET, "--data", "digits", "--epochs", "1"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    out = tmp_path_factory.mktemp("train") / "base"
    assert main(["train", *TINY, "-o", str(out)]) == 0
    return out


@pytest.mark.parametrize("space", ["kernel", "gradient"])
def test_train_refocuses_a_timm_model_that_timm_loads_again(space, tmp_path, capsys):
    arguments = ["--model", "one_block", "--data", "digits", "--img-size", "16", "--epochs", "1", "--method",
                 "refocus", "--include", "depthwise", "--device", "cpu", "--space", space]  # fmt: skip
    assert main(["train", *arguments, "-o", str(tmp_path / "run")]) == 0
    record = json.loads((tmp_path / "run" / "record.json").read_text())
    assert record["sites"] > 0
    assert (record["extra_parameters"] > 0) == (space == "kernel")
    model = timm.create_model(f"local-dir:{tmp_path / 'run' / 'model'}", pretrained=True)
    assert model.eval()(torch.zeros(1, 1, 16, 16)).shape == (1, 10)
    capsys.readouterr()
    assert main(["verify", "one_block", str(tmp_path / "run"), "--no-pretrained"]) == 0
    assert main(["verify", str(tmp_path / "run" / "checkpoint.pt"), str(tmp_path / "run"), "--equal"]) == 0
    assert main(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "merged")]) == 0
    assert main(["verify", str(tmp_path / "merged"), str(tmp_path / "run"), "--equal", "--data", "digits"]) == 0
    assert "outputs    identical" in capsys.readouterr().out


def test_eval_repeats_the_test_of_the_run(base, capsys):
    record = json.loads((base / "record.json").read_text())
    for where, data in ((base, []), (base / "model", ["--data", "digits"])):
        assert main(["eval", str(where), *data, "--json", "--device", "cpu"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["top1"] == record["top1"]
        assert found["loss"] == pytest.approx(record["loss"], rel=1e-5)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([*TINY, "--out", "BASE"], "the run folder exists already"),
        ([*TINY, "--lr", "0.3", "--out", "BASE", "--resume"], "the run was started with other settings"),
        ([*TINY, "--out", "NEW", "--resume"], "nothing to resume"),
        ([*NET, "--data", "digitz", "--out", "NEW"], "unknown data"),
        ([*NET, "--data", "folder:nowhere", "--out", "NEW"], "nowhere"),
        ([*TINY, "--method", "refocs", "--out", "NEW"], "did you mean refocus"),
        ([*TINY, "--checkpoint", "nowhere.pth", "--out", "NEW"], "nowhere.pth: no such file"),
        ([*TINY, "--checkpoint", "EVIL", "--out", "NEW"], "would run code"),
        ([*TINY, "--checkpoint", "BASE", "--num-classes", "12", "--out", "NEW"], "expected 12 classes, found 10"),
        (["--out", "NEW", "--resume"], "nothing to resume; expected a file checkpoint.pt, found no folder"),
        (["--out", "EMPTY", "--resume"], "nothing to resume"),
        ([*TINY, "--learning-rate", "1", "--out", "NEW"], "--learning-rate: unknown flag; did you mean --lr?"),
        ([*TINY, "--num_workers", "1", "--out", "NEW"], "--num_workers: unknown flag; did you mean --workers?"),
        (["--model", "efficientnet_lite", "--data", "digits", "--out", "NEW"], "did you mean efficientnet_lite0 or"),
        ([*TINY, "--mixup", "0.2", "-b", "7", "--out", "NEW"], "mixup and cutmix need pairs"),
        ([*TINY, "-j", "-1", "--out", "NEW"], "workers: value out of range; expected at least 0, found -1"),
        ([*TINY, "--lr", "1e9", "--method", "refocus", "--out", "NEW"], "not finite"),
        ([*TINY, "--lr", "1e308", "--out", "NEW"], "lr: too large; expected at most 3.4e+38, the largest"),
        ([*TINY, "--crop-pct", "1e-9", "--out", "NEW"], "crop_pct: value out of range; expected at least 0.01"),
        ([*TINY, "--sched", "step", "--decay-epochs", "0", "--out", "NEW"], "decay_epochs: value out of range"),
        ([*TINY, "--sched-kwargs", "cycle_limit=0", "--out", "NEW"], "sched_kwargs.cycle_limit: value out of range"),
        ([*TINY, "--opt", "adamw", "--opt-kwargs", "eps=abc", "--out", "NEW"], "opt_kwargs.eps: wrong type; expected"),
    ],
)  # fmt: skip
def test_train_says_in_one_line_why_it_does_not(base, tmp_path, capsys, flags, words):
    torch.save(torch.nn.Linear(1, 1), tmp_path / "evil.pth")
    (tmp_path / "empty").mkdir()
    places = {"BASE": base, "NEW": tmp_path / "new", "EMPTY": tmp_path / "empty", "EVIL": tmp_path / "evil.pth"}
    before = {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()}
    assert main(["train", *(str(places.get(flag, flag)) for flag in flags)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("refconv: error: ")
    assert error.count("\n") == 1
    assert words in error
    assert {path.name: path.read_bytes() for path in base.iterdir() if path.is_file()} == before


NO_NORMS = ["--model", "run_many:Plain", "--device", "cpu", "--data", "digits", "--img-size", "8", "--epochs", "1"]
STRANGE = {
    "kernels of 1e30": (TINY, "blocks.0.0.weight", 1e30, "blocks.0.1.running_var: a step in training makes statistics"),
    "a Gram of 1e38": (NO_NORMS, "depthwise.weight", 1e19, "depthwise: its Gram is larger than its numbers can be"),
    "outputs that overflow": (NO_NORMS, "stem.weight", 3e38, "step 0: the loss is not finite"),
    "a kernel of infinity": (NO_NORMS, "dense.weight", math.inf, "bases.pth: the weights are not finite"),
    "a kernel of NaN": (NO_NORMS, "dense.weight", math.nan, "NaN or infinity in 1 of 8 entries (dense.weight)"),
    "infinite statistics": (TINY, "blocks.0.1.running_var", math.inf, "in 1 of 56 entries (blocks.0.1.running_var)"),
}
BASES = [(name, space) for name in STRANGE for space in ("kernel", "gradient")]
BASES.remove(("a Gram of 1e38", "kernel"))  # which needs no Gram


@pytest.mark.parametrize(("name", "space"), BASES)
def test_bases_that_cannot_train_are_one_line_and_leave_no_result(name, space, tmp_path, capsys):
    command, entry, factor, words = STRANGE[name]
    torch.manual_seed(0)
    state = (Plain() if command is NO_NORMS else mobilenet_small(10, 1, width=0.25)).state_dict()
    state[entry] = state[entry] * factor
    torch.save(state, tmp_path / "bases.pth")
    command = [*command, "--checkpoint", str(tmp_path / "bases.pth"), "--method", "refocus", "--gram-scale", "paper"]
    run = tmp_path / "run"
    assert main(["train", *command, "--space", space, "--opt", "momentum", "-o", str(run)]) == 2
    (line,) = (line for line in capsys.readouterr().err.splitlines() if not line.startswith("refconv: warning: "))
    assert line.startswith("refconv: error: ")
    assert words in line
    assert not (run / "record.json").exists()
    assert not (run / "model").exists()


@pytest.mark.parametrize("number", SIGNALS)
def test_train_stops_at_a_signal_and_says_how_to_resume(number, base, tmp_path):
    flags = ["train", *TINY, "--checkpoint-interval", "1000", "-o", tmp_path / "run"]
    process = interrupted(flags, step=2, signals=[number])
    error = process.stderr
    assert process.returncode == 128 + number
    word = "Ctrl-C" if number == signal.SIGINT else number.name
    assert error.startswith(f"refconv: {tmp_path / 'run'}: stopped by {word}")
    assert "--resume" in error
    assert error.count("\n") == 1
    assert main(["train", "-o", str(tmp_path / "run"), "--resume"]) == 0
    results = [(folder / "model" / "model.safetensors").read_bytes() for folder in (tmp_path / "run", base)]
    assert results[0] == results[1]


def test_a_second_ctrl_c_leaves_at_once_and_says_what_is_safe(tmp_path):
    flags = ["train", *TINY, "--checkpoint-interval", "1", "-o", tmp_path / "run"]
    process = interrupted(flags, step=3, signals=[signal.SIGINT, signal.SIGINT])
    assert process.returncode == 130
    said = "stopped by Ctrl-C at step 2 of 11, without waiting"
    safe = "the checkpoint of step 2 is whole: continue with --resume"
    assert process.stderr == f"refconv: {tmp_path / 'run'}: {said}; {safe}\n"
    assert main(["train", "-o", str(tmp_path / "run"), "--resume"]) == 0


@pytest.mark.parametrize(
    ("flags", "data", "data_dir"),
    [
        ([], "folder:images", "before"),
        (["--data", "folder:images"], "folder:images", "before"),
        (["--data", "folder:after/images"], "folder:after/images", None),
        (["--data", "folder:other", "--data-dir", "after"], "folder:other", "after"),
        (["--data-dir", "after"], "folder:images", "after"),
    ],
)
def test_data_named_anew_on_resuming_is_not_looked_for_in_the_folder_of_before(
    tmp_path, monkeypatch, flags, data, data_dir
):
    save_run(tmp_path / "run", small_recipe(), finished=False)
    (tmp_path / "run/recipe.toml").write_text(small_recipe(data="folder:images", data_dir="before").to_toml())
    found = []
    monkeypatch.setattr(loop, "train", lambda recipe, out, resume, show: found.append(recipe))
    assert main(["train", "--resume", "-o", str(tmp_path / "run"), *flags]) == 0
    assert (found[0].data, found[0].data_dir) == (data, data_dir)


def test_train_and_merge_print_their_records_as_json(tmp_path, capsys):
    assert main(["train", "--recipe", "digits", "--epochs", "2", "--device", "cpu", "--workers", "0", "--json", "--out",
                 str(tmp_path / "run")]) == 0  # fmt: skip
    record = RunRecord.from_json(capsys.readouterr().out)
    assert record == RunRecord.read(tmp_path / "run" / "record.json")
    assert main(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "plain"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["missing"] == []


def test_resume_auto_starts_and_goes_on_and_says_when_it_is_over(base, tmp_path, capsys):
    flags = ["train", *TINY, "--checkpoint-interval", "1", "--resume", "auto", "-o"]
    run = tmp_path / "run"
    assert interrupted([*flags, run], step=2).returncode == 130
    (run / "checkpoint.pt").unlink()  # as if it had been stopped before its first one
    (run / "metrics.jsonl").write_bytes(b"")
    assert interrupted([*flags, run], step=3).returncode == 130
    assert Checkpoint.load(run / "checkpoint.pt").step == 3
    assert main([*flags, str(run)]) == 0
    whole = (run / "model/model.safetensors").read_bytes()
    capsys.readouterr()
    assert main([*flags, str(run)]) == main(["train", "--resume", "-o", str(run)]) == 0
    assert capsys.readouterr().out.count("finished before: ") == 2
    assert (base / "model/model.safetensors").read_bytes() == whole


def test_a_run_that_lost_its_recipe_goes_on_by_the_command_that_began_it(tmp_path, capsys):
    run = tmp_path / "run"
    assert main(["train", *TINY, "-o", str(run)]) == 0
    said = (run / "recipe.toml").read_text()
    (run / "recipe.toml").unlink()
    assert main(["train", "--resume", "-o", str(run)]) == 2
    assert "the command that trained it writes it again, with --resume" in capsys.readouterr().err
    assert main(["train", *TINY, "--resume", "-o", str(run)]) == 0
    assert (run / "recipe.toml").read_text() == said


def test_a_run_stopped_before_its_first_checkpoint_is_started_by_the_same_command(tmp_path, capsys):
    """It was told to resume, and then that there is nothing to resume."""
    run = tmp_path / "run"
    flags = ["train", *TINY, "-o", str(run)]
    assert main(flags) == 0
    for name in ("checkpoint.pt", "record.json"):
        (run / name).unlink()
    shutil.rmtree(run / "model")
    assert sorted(path.name for path in run.iterdir() if path.name != ".lock") == ["metrics.jsonl", "recipe.toml"]
    whole = (run / "metrics.jsonl").read_bytes()
    for ending in ([], ["--resume", "auto"]):  # it was trained, and somebody has removed its checkpoint
        assert main([*flags, *ending]) == 2
        assert (
            "the run folder exists already; found metrics.jsonl, recipe.toml; give another" in capsys.readouterr().err
        )
    assert (run / "metrics.jsonl").read_bytes() == whole
    (run / "metrics.jsonl").write_bytes(b"")
    assert main(["train", "--resume", "-o", str(run)]) == 2
    assert main(flags) == 0
    assert (run / "record.json").is_file()


@pytest.mark.parametrize(
    ("data", "workers", "ahead"),
    [("folder:a", 2, True), ("torch/x", 1, True), ("folder:a", 0, False), ("digits", 2, False)],
)
def test_what_makes_data_workers_starts_before_torch_is_imported(monkeypatch, tmp_path, data, workers, ahead):
    calls = []
    monkeypatch.setattr(training, "start_ahead", lambda: calls.append("ahead"))
    monkeypatch.setattr(loop, "train", lambda *_, **__: calls.append("train"))
    flags = [*NET, "--data", data, "--workers", str(workers), "--data-dir", str(tmp_path)]
    assert main(["train", *flags, "-o", str(tmp_path / "run")]) == 0
    assert calls == [*["ahead"] * ahead, "train"]


@pytest.mark.slow
def test_torchrun_restarts_a_run_that_died(tmp_path):
    """One worker is killed in the middle; torchrun starts the command again, which goes on."""
    (tmp_path / "dying.py").write_text(
        "import os, signal\n"
        "from pathlib import Path\n"
        "from refconv.engine.stepping import Stepper\n"
        "from refconv.cli import main\n"
        "step, mark = Stepper.step, Path('died')\n"
        "def dying(self, number, parts):\n"
        "    if number == 5 and not mark.exists():\n"
        "        mark.touch()\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return step(self, number, parts)\n"
        "Stepper.step = dying\n"
        "raise SystemExit(main())\n"
    )
    flags = ["train", *TINY, "--checkpoint-interval", "2", "-o"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "1", "--max-restarts", "1"]
    command = [*launcher, "dying.py", *flags, "run", "--resume", "auto"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "died").exists()
    assert main([*flags, str(tmp_path / "whole")]) == 0
    weights = [(tmp_path / name / "model/model.safetensors").read_bytes() for name in ("run", "whole")]
    assert weights[0] == weights[1]
