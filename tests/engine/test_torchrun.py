"""Several processes through torchrun: the same result as one, exact resumption, and one line for an error."""

import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from processes_left import MARK, left_after
from refconv.engine import Recipe, train
from refconv.models.checkpoint import Checkpoint
from run_results import read_metrics, same_result

SCRIPT = """
import os, signal, sys
import torch
from refconv.errors import RefconvError
from refconv.engine import Recipe, train
from refconv.engine.epochs import Loop
torch.set_num_threads(1)
recipe, out, resume, kill_at = sys.argv[1:]
if kill_at != "never":
    save = Loop._log
    def killing(self):
        save(self)
        if self.step >= int(kill_at) and self.processes.first:
            os.kill(os.getppid(), signal.SIGKILL)
            import time
            time.sleep(600)  # longer than the test waits for the end
    Loop._log = killing
if __name__ == "__main__":  # processes that decode images import this file
    try:
        train(Recipe.from_toml(recipe), out, resume=resume == "resume")
    except RefconvError as error:
        sys.stderr.write(f"refconv: {error}\\n")
        sys.exit(2)
"""

BASIS = {
    "model": "refconv.models.networks:mobilenet_small", "model_kwargs": {"width": 0.25}, "data": "digits",
    "method": "refocus", "opt": "momentum", "epochs": 3, "batch_size": 128, "log_interval": 3,
    "checkpoint_interval": 5, "val_split": 0.1, "pad_crop": 1,
}  # fmt: skip


def launch(tmp_path, out, *, resume=False, kill_at="never", count=2, **settings):
    """Start a run in a group of its own, by torchrun with so many processes, or without it for 0."""
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(Recipe(**{**BASIS, **settings}).to_toml())
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    arguments = [recipe, tmp_path / out, "resume" if resume else "start", kill_at]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", MARK: str(tmp_path)}
    return subprocess.Popen(
        [*(torchrun if count else [sys.executable]), str(script), *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )


def finished(process):
    out, errors = process.communicate(timeout=300)
    return process.returncode, out, errors


SHORT = {"epochs": 5, "epoch_steps": 4, "snapshots": 2}


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {"space": "kernel", "start": "kaiming", "rounds": 2},
        {"space": "gradient", "start": "kaiming", "rounds": 2},
        {"space": "kernel", "train": "refocus+norm", **SHORT},
        {"space": "gradient", "aug_repeats": 2.5, "log": ("csv",)},
    ],
    ids=["kernel", "gradient", "short epochs", "repeats"],
)
def test_two_processes_are_resumed_exactly_after_kill_9(settings, tmp_path):
    status, out, errors = finished(launch(tmp_path, "whole", **settings))
    assert status == 0, errors
    assert out.count("test top-1") == 1
    process = launch(tmp_path, "killed", kill_at=18, **settings)
    finished(process)
    assert process.returncode == -9
    assert left_after(tmp_path) == []  # the kernel took the workers along
    assert Checkpoint.load(tmp_path / "killed/checkpoint.pt").step == 15
    status, _, errors = finished(launch(tmp_path, "killed", resume=True, **settings))
    assert status == 0, errors
    same_result(tmp_path / "whole", tmp_path / "killed")
    if "log" in settings:  # of one process, and of both sessions
        tables = [(tmp_path / name / "csv/train.csv").read_text().splitlines() for name in ("whole", "killed")]
        steps, again = ([line.split(",")[:4] for line in table] for table in tables)
        assert steps == again
        assert [line[0] for line in steps[1:]] == [str(step) for step in range(3, 31, 3)]
    if "snapshots" in settings:
        last = torch.load(tmp_path / "whole/snapshots/epoch-0005.pth")
        for name in ("whole", "killed"):  # the statistics of the first process, as in what is shipped
            shipped = load_file(tmp_path / name / "model/model.safetensors")
            assert all(torch.equal(value, shipped[key]) for key, value in last.items())


@pytest.mark.slow
@pytest.mark.parametrize(
    "own",
    [{"space": "kernel"}, {"space": "gradient"}, {"space": "kernel", "aug_repeats": 3.0, "grad_checkpointing": True}],
    ids=["kernel", "gradient", "repeats"],
)
def test_two_processes_train_as_one_does(own, tmp_path):
    # Without batch norm: its statistics are those of each process's share.
    settings = {
        "model": "test_convnext", "model_kwargs": {}, "img_size": 32, "epochs": 1, "lr": 0.01, **own,
    }  # fmt: skip
    status, _, errors = finished(launch(tmp_path, "two", **settings))
    assert status == 0, errors
    train(Recipe(**{**BASIS, **settings}), tmp_path / "one", show=False)
    one, two = (load_file(tmp_path / name / "model/model.safetensors") for name in ("one", "two"))
    assert max(float((one[key] - two[key]).abs().max()) for key in one) < 1e-4
    losses = [[row["loss"] for row in read_metrics(tmp_path / n / "metrics.jsonl", "train")] for n in ("one", "two")]
    torch.testing.assert_close(*losses, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"data": "digit"}, "digit: unknown data"),
        ({"batch_size": 127, "grad_accum_steps": 2}, "batch_size: the batch cannot be cut into equal parts"),
        ({"lr": 1e30, "clip_grad": None}, "is not finite"),
        ({"sync_bn": True, "batch_size": 1}, "sync_bn: a process has no sample of a part; expected at least 2 samples"),
    ],
    ids=["data", "batch", "loss", "norms"],
)
def test_an_error_of_all_processes_is_said_once(settings, words, tmp_path):
    status, _, errors = finished(launch(tmp_path, "run", **settings))
    assert status != 0
    assert errors.count("refconv: ") == 1
    assert words in errors
