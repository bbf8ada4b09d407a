"""Exact resumption: killed in the middle of an epoch and resumed, a run ends as if nothing had happened.

One process here; two through torchrun in test_torchrun.py.
"""

import shutil
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from ready_processes import run_script
from refconv.engine import Recipe, train
from refconv.engine.metrics import Metrics
from refconv.models.checkpoint import Checkpoint
from refconv.process.interruption import StoppedError
from run_results import read_metrics, same_result

# Kills itself, as the kernel kills, when it is about to write the metrics of a step.
KILLED = """
import os, signal, sys
from refconv.engine import Recipe, train
from refconv.process.interruption import StoppedError
from refconv.engine.metrics import Metrics
import torch
torch.set_num_threads(1)
write = Metrics.write
def killing(self, kind, *, step, **numbers):
    write(self, kind, step=step, **numbers)
    if step >= int(sys.argv[3]):
        os.kill(os.getpid(), signal.SIGKILL)
Metrics.write = killing
train(Recipe.from_toml(sys.argv[1]), sys.argv[2], show=False)
"""

BASIS = {
    "model": "refconv.models.networks:mobilenet_small",
    "model_kwargs": {"width": 0.25, "strides": [1, 2], "stem_stride": 2}, "data": "digits",
    "opt": "momentum", "epochs": 3, "batch_size": 128, "log_interval": 3, "checkpoint_interval": 5, "pad_crop": 1,
    "hflip": 0.5, "warmup_epochs": 1,
}  # fmt: skip

OWN = {
    "data": "own_datasets:blinking", "pad_crop": 0, "hflip": 0.0, "batch_size": 6, "opt": "adamw", "lr": 0.01,
    "method": "refocus", "model_ema": True, "workers": 0,
}  # fmt: skip

CASES = [
    pytest.param({}, id="plain", marks=pytest.mark.slow),
    pytest.param(
        {"method": "refocus", "space": "kernel", "start": "kaiming", "model_ema": True, "model_ema_warmup": True},
        id="refocus+average",
    ),
    pytest.param(
        {
            "method": "refocus", "space": "gradient", "start": "kaiming", "model_ema": True, "gram_scale": "normalized",
            "rounds": 2, "clip_grad": 1.0, "opt": "lookahead_sgd", "weight_decay": 1e-3,
        },
        id="gradient+rounds+average",
    ),
    pytest.param(
        {"method": "refocus", "space": "kernel", "gram_scale": "normalized", "rounds": 3, "weight_decay": 1e-3},
        id="kernel+rounds",
        marks=pytest.mark.slow,
    ),
    pytest.param(
        {
            "method": "refocus", "grad_accum_steps": 2, "mixup": 0.3, "cutmix": 0.3, "val_split": 0.1, "opt": "adamw",
            "lr": 0.01,
        },
        id="accumulated+mixed+validated",
    ),
    pytest.param(
        {
            "method": "refocus", "model": "test_convnext", "model_kwargs": {}, "img_size": 32, "drop": 0.3,
            "drop_path": 0.3, "epochs": 2, "lr": 0.01,
        },
        id="dropout",
        marks=pytest.mark.slow,
    ),
    pytest.param(OWN, id="own datasets"),
    pytest.param({**OWN, "workers": 2}, id="own datasets, workers", marks=pytest.mark.slow),
]  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


def killed_at(recipe, folder, step):
    """Train in another process into ``folder/killed`` and kill it by SIGKILL after a step."""
    (folder / "recipe.toml").write_text(recipe.to_toml())
    beside = Path(__file__).parents[1]  # where the modules of tests are
    killed = run_script(KILLED, folder / "recipe.toml", folder / "killed", step, cwd=beside)
    assert killed.returncode == -9, killed.stderr


def resumed_as_whole(recipe, folder):
    """Check that ``folder/killed`` resumes to the result of a run that was not interrupted, bit for bit."""
    train(recipe, folder / "killed", resume=True, show=False)
    train(recipe, folder / "whole", show=False)
    same_result(folder / "whole", folder / "killed")


@pytest.mark.parametrize("settings", CASES)
def test_kill_9_in_mid_epoch_and_resume_end_in_the_same_bits(settings, tmp_path):
    recipe = Recipe(**{**BASIS, **settings})
    killed_at(recipe, tmp_path, 18)
    assert Checkpoint.load(tmp_path / "killed/checkpoint.pt").step == 15  # 4 steps into the second of 11-step epochs
    assert not (tmp_path / "killed/record.json").exists()
    assert read_metrics(tmp_path / "killed/metrics.jsonl")[-1]["step"] == 18
    resumed_as_whole(recipe, tmp_path)


@pytest.mark.parametrize(
    "settings",
    [
        {"snapshots": 2, "method": "refocus", "space": "kernel", "model_ema": True, "grad_accum_steps": 2},
        {"snapshots": 2, "method": "refocus", "kernel_lr_scale": 0.1, "sched": "none", "checkpoint_interval": 0},
    ],
    ids=["kernel space", "no schedule"],
)
def test_short_epochs_and_their_snapshots_are_resumed_exactly(settings, tmp_path):
    recipe = Recipe(**{**BASIS, "epochs": 5, "epoch_steps": 4, **settings})
    killed_at(recipe, tmp_path, 18)  # 2 steps into the last epoch, after the first snapshot
    kept = 15 if recipe.checkpoint_interval else 16
    assert Checkpoint.load(tmp_path / "killed/checkpoint.pt").step == kept
    assert [file.name for file in snapshots(tmp_path / "killed")] == ["epoch-0004.pth"]
    resumed_as_whole(recipe, tmp_path)
    for one, other in zip(snapshots(tmp_path / "whole"), snapshots(tmp_path / "killed"), strict=True):
        first, second = torch.load(one), torch.load(other)
        assert one.name == other.name
        assert first.keys() == second.keys()
        assert all(torch.equal(value, second[name]) for name, value in first.items())


def snapshots(run):
    return sorted((run / "snapshots").iterdir())


def test_a_run_can_be_resumed_at_every_step(tmp_path):
    recipe = Recipe(**{**BASIS, "epochs": 1, "batch_size": 256, "checkpoint_interval": 1})
    train(recipe, tmp_path / "whole", show=False)
    run = tmp_path / "whole"
    expected = load_file(run / "model/model.safetensors")
    saved = tmp_path / "saved"
    saved.mkdir()

    original = Checkpoint.save

    def keep(self, path):
        original(self, path)
        original(self, saved / f"{self.step}.pt")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoint, "save", keep)
        train(recipe, tmp_path / "kept", show=False)
    assert sorted(int(path.stem) for path in saved.iterdir()) == list(range(6))
    for step in range(6):
        folder = tmp_path / str(step)
        folder.mkdir()
        (saved / f"{step}.pt").rename(folder / "checkpoint.pt")
        shutil.copyfile(tmp_path / "kept/metrics.jsonl", folder / "metrics.jsonl")
        train(recipe, folder, resume=True, show=False)
        result = load_file(folder / "model/model.safetensors")
        assert all(torch.equal(result[key], value) for key, value in expected.items()), step


def test_another_seed_ends_elsewhere(tmp_path):
    recipes = [Recipe(**{**BASIS, "epochs": 1, "seed": seed}) for seed in (0, 1)]
    records = [train(recipe, tmp_path / str(recipe.seed), show=False) for recipe in recipes]
    assert records[0].loss != records[1].loss


def test_settings_that_do_not_matter_may_change(tmp_path, monkeypatch):
    recipe = Recipe(**{**BASIS, "epochs": 2})
    write = Metrics.write

    def interrupting(self, kind, *, step, **numbers):
        write(self, kind, step=step, **numbers)
        if step == 12:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Metrics, "write", interrupting)
        with pytest.raises(StoppedError):
            train(recipe, tmp_path / "stopped", show=False)
    changed = Recipe(**{**BASIS, "epochs": 2, "log_interval": 7, "checkpoint_interval": 0, "workers": 0})
    train(changed, tmp_path / "stopped", resume=True, show=False)
    train(recipe, tmp_path / "whole", show=False)
    results = [(tmp_path / name / "model/model.safetensors").read_bytes() for name in ("stopped", "whole")]
    assert results[0] == results[1]
    assert [row["step"] for row in read_metrics(tmp_path / "stopped/metrics.jsonl")] == [0, 3, 6, 9, 12, 14, 21, 22, 22]


@pytest.mark.slow
def test_images_from_disk_with_workers_are_resumed_exactly(tmp_path):
    pixels = torch.Generator().manual_seed(0)
    for split, count in (("train", 24), ("val", 4)):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                values = torch.randint(0, 256, (40, 40, 3), generator=pixels, dtype=torch.uint8)
                Image.fromarray(values.numpy()).save(folder / f"{number}.png")
    recipe = Recipe(
        model="test_efficientnet", data=f"folder:{tmp_path / 'images'}", method="refocus", img_size=32, workers=2,
        batch_size=4, epochs=2, scale=(0.3, 1.0), hflip=0.5, aa="rand-m6-mstd0.5", re_prob=0.3, mixup=0.2, lr=0.01,
        log_interval=3, checkpoint_interval=5, opt="momentum", drop_path=0.2,
    )  # fmt: skip
    killed_at(recipe, tmp_path, 18)
    resumed_as_whole(recipe, tmp_path)


@pytest.mark.slow
def test_a_compiled_run_is_resumed_exactly(tmp_path):
    """The code of its steps does not depend on what was evaluated before: Note [Evaluations are not compiled]."""
    recipe = Recipe(**{**BASIS, "method": "refocus", "compile": True, "epochs": 2, "val_split": 0.1})
    killed_at(recipe, tmp_path, 12)
    resumed_as_whole(recipe, tmp_path)
