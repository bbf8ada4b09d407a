"""Several words after a flag, as timm's train.py takes them."""

import pytest
import typer

from refconv.cli import main
from refconv.cli.app import app
from refconv.cli.arguments import spread
from refconv.recipe.recipe import Recipe

COMMANDS = typer.main.get_command(app).commands


@pytest.mark.parametrize(
    ("command", "given", "meant"),
    [
        ("train", "--mean 0.5 0.4 .3 --std 1", "--mean 0.5,0.4,.3 --std 1"),
        ("train", "--mean 0.5,0.4 0.3 -o x", "--mean 0.5,0.4,0.3 -o x"),
        ("train", "--model-kwargs a=1 b=2 -o x", "--model-kwargs a=1 --model-kwargs b=2 -o x"),
        ("train", "--input-size 3 64 64", "--input-size 3,64,64"),
        ("train", "--opt-betas 0.9 0.99", "--opt-betas 0.9,0.99"),
        ("train", "--log csv wandb -o x", "--log csv,wandb -o x"),
        ("train", "--lr 0.1 --mean", "--lr 0.1 --mean"),
        ("train", "--scale 0.1 1 --epochs 3", "--scale 0.1 1 --epochs 3"),
        ("eval", "--mean 0.5 0.5 0.5 runs/a", "--mean 0.5,0.5,0.5 runs/a"),
        ("predict", "m --mean 0.5 a.jpg b.jpg", "m --mean 0.5 a.jpg b.jpg"),
        ("plan", "resnet18 --model-kwargs a=1", "resnet18 --model-kwargs a=1"),
    ],
)
def test_words_are_spread(command, given, meant):
    assert spread(COMMANDS[command], given.split()) == meant.split()


@pytest.fixture
def trained(monkeypatch):
    calls = []
    loop = type("Loop", (), {"train": staticmethod(lambda recipe, out, **_: calls.append((recipe, out)))})
    monkeypatch.setitem(__import__("sys").modules, "refconv.engine.loop", loop)
    return calls


def test_a_command_line_of_timms_program_is_understood(trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = (
        "train --dataset torch/cifar10 --data-dir data --model resnet50 --pretrained --input-size 3 224 224 "
        "--mean 0.5 0.5 0.5 --std 0.2 0.2 0.2 -b 64 -vb 128 -j 2 --opt lamb --opt-eps 1e-6 --opt-betas 0.9 0.98 "
        "--lr-base 0.008 --sched step --decay-epochs 30 --decay-rate 0.97 --warmup-epochs 5 --hflip 0.5 --vflip 0.1 "
        "--aug-repeats 3 --aa rand-m6 --reprob 0.25 --mixup 0.1 --cutmix 1 --bce-loss --bce-target-thresh 0.2 "
        "--bce-sum --train-interpolation random --amp --amp-dtype bfloat16 --sync-bn --grad-checkpointing "
        "--drop-path 0.05 --log-wandb --wandb-project p --val-interval 2 --output out --experiment first"
    )
    assert main(line.split()) == 0
    ((recipe, out),) = trained
    assert str(out) == "out/first"
    assert recipe == Recipe(
        data="torch/cifar10", data_dir="data", model="resnet50", pretrained=True, in_chans=3, img_size=224,
        mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), batch_size=64, validation_batch_size=128, workers=2, opt="lamb",
        opt_kwargs={"eps": 1e-6, "betas": (0.9, 0.98)}, lr=0.004, sched="step",
        sched_kwargs={"decay_epochs": 30.0, "decay_rate": 0.97}, warmup_epochs=5.0, hflip=0.5, vflip=0.1,
        aug_repeats=3.0, aa="rand-m6", re_prob=0.25, mixup=0.1, cutmix=1.0, loss="bce",
        loss_kwargs={"target_threshold": 0.2, "sum_classes": True}, train_interpolation="random", amp=True,
        sync_bn=True, grad_checkpointing=True, drop_path=0.05, log=("wandb",), log_kwargs={"project": "p"},
        eval_interval=2,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "folder"),
    [("--out a", "a"), ("--output a", "a"), ("--experiment b", "runs/b"), ("--output a --experiment b", "a/b")],
)
def test_the_folder_of_a_run_may_be_named_as_in_timms_program(trained, flags, folder):
    assert main(["train", "--model", "m", "--data", "digits", *flags.split()]) == 0
    assert str(trained[0][1]) == folder
