"""Weights as public repositories leave them go through every command, with nothing said but the builder's name.

Their names start with ``module.``, the batch norms have no ``num_batches_tracked``, the builder takes no number of
classes, and nothing says what size the images have.
"""

import importlib
import json
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from refconv.cli import main

SIDE = 20
MODULE = """
from torch import nn

def small():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 3),
    )
"""


@pytest.fixture
def public(tmp_path, monkeypatch):
    """The weights file, the model itself and a folder of square images."""
    (tmp_path / "public_network.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    model = importlib.import_module("public_network").small().eval()
    old = {f"module.{name}": value for name, value in model.state_dict().items() if "num_batches" not in name}
    torch.save({"state_dict": old, "best_prec1": 91.7}, "small.th")
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        for name in ("a", "b", "c"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                pixels = generator.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    yield model
    sys.modules.pop("public_network")


NAME = ["--model", "public_network:small"]
LINE = f"images: RGB, {SIDE} x {SIDE} px, whole (size of the images); bilinear, mean 0.485 0.456 0.406"


def test_predict_looks_at_the_images_as_evaluation_does(public, capsys, tmp_path):
    (tmp_path / "map").write_text("a,0\nb,1\nc,2\n")
    assert main(["eval", "small.th", *NAME, "--data", "folder:images", "--class-map", "map", "--device", "cpu"]) == 0
    evaluated = next(line for line in capsys.readouterr().err.splitlines() if line.startswith("images: "))
    assert evaluated.startswith(LINE)
    assert main(["predict", "small.th", "images/val", *NAME, "--json", "--device", "cpu"]) == 0
    printed = capsys.readouterr()
    assert printed.err.splitlines() == [evaluated]
    transform = timm.data.create_transform(SIDE, crop_pct=1.0, interpolation="bilinear")
    said = [json.loads(line) for line in printed.out.splitlines()]
    assert len(said) == 9
    for entry in said:
        with torch.no_grad():
            expected = public(transform(Image.open(entry["image"]))[None]).softmax(1)[0]
        found = {one["class"]: one["probability"] for one in entry["classes"]}
        assert [found[number] for number in range(3)] == pytest.approx(expected.tolist(), rel=1e-5)


def test_images_of_several_sizes_say_no_size(public, capsys, tmp_path):
    for number in (8, 9):  # nine of ten would still be enough
        Image.new("RGB", (SIDE + 1, SIDE + 1)).save(tmp_path / f"images/val/a/{number}{number}.png")
    assert main(["predict", "small.th", "images/val", *NAME, "--device", "cpu"]) == 2
    (error,) = capsys.readouterr().err.splitlines()
    assert "the size of the model's input is not known" in error
    assert error.endswith("give --img-size, in Python preprocessing={'img_size': 224}")


def test_plan_train_merge_and_verify_take_them(public, capsys):
    assert main(["plan", *NAME, "--checkpoint", "small.th"]) == 0
    assert "2 of 2 kernels of Sequential are refocused" in capsys.readouterr().out
    settings = ["--epochs", "1", "--batch-size", "3", "--lr", "0.01", "--workers", "0", "--device", "cpu"]
    data = ["--data", "folder:images", "--method", "refocus", "--out", "run"]
    assert main(["train", *NAME, "--checkpoint", "small.th", *data, *settings]) == 0
    assert LINE in "".join(capsys.readouterr())
    assert main(["verify", "small.th", "run", *NAME]) == 0
    assert "kernels    largest difference" in capsys.readouterr().out
    assert main(["predict", "run", "images/val/a/0.png", "--device", "cpu", "--trust"]) == 0
    assert main(["merge", "run", "-o", "merged", "--trust"]) == 0


def test_a_choice_between_several_sets_of_weights_is_one_plain_line(public, capsys):
    state = public.state_dict()
    torch.save({"params": {**state, "0.weight": 2 * state["0.weight"]}, "params_ema": state}, "two.th")
    assert main(["verify", "small.th", "two.th", *NAME]) == 0
    printed = capsys.readouterr()
    assert printed.err == "refconv: warning: two.th: holds several sets of weights; params_ema is taken, not params\n"
    assert "largest difference 0, over 2 kernels" in printed.out
