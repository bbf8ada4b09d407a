"""Restoration through the commands: train, evaluate here and elsewhere, restore a file, compare models."""

import json

import numpy as np
import pytest
from PIL import Image

from refconv.cli import main

NET = ["--model", "refconv.models.restorers:edsr_small"]
SIZE = ["--model-kwargs", "width=4", "--model-kwargs", "depth=1"]
REST = ["--task", "restoration", "--patch-size", "16", "--batch-size", "4", "--epochs", "1", "--device", "cpu"]


def write(folder, count, size=(40, 36)):
    folder.mkdir(parents=True)
    generator = np.random.default_rng(len(folder.name))
    for index in range(count):
        coarse = Image.fromarray(generator.integers(0, 255, (7, 7, 3), dtype=np.uint8))
        coarse.resize(size, Image.Resampling.BICUBIC).save(folder / f"{index}.png")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("restoration")
    write(home / "data" / "train", 3)
    write(home / "data" / "test", 1)
    write(home / "other", 2)
    flags = [*NET, *SIZE, *REST, "--data", f"images:{home / 'data'}", "--upscale", "2", "--method", "refocus"]
    assert main(["train", *flags, "-o", str(home / "run")]) == 0
    return home / "run"


def test_eval_repeats_the_test_and_evaluates_other_folders(run, capsys):
    record = json.loads((run / "record.json").read_text())
    assert main(["eval", str(run), "--json", "--device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["psnr"] == pytest.approx(record["measures"]["psnr"], abs=1e-4)
    other = ["--data", "images:other", "--data-dir", str(run.parent), "--device", "cpu"]
    for reference in (run, run / "model", run / "checkpoint.pt"):
        assert main(["eval", str(reference), *other]) == 0
        assert "images:other, test: PSNR" in capsys.readouterr().out


def test_verify_and_predict_take_the_run(run, tmp_path, capsys):
    flags = ["--equal", "--data", f"images:{run.parent / 'data'}"]
    assert main(["verify", str(run / "checkpoint.pt"), str(run), *flags]) == 0
    assert main(["verify", str(run / "model"), str(run), "--equal"]) == 0
    picture = run.parent / "other" / "0.png"
    assert main(["predict", str(run), str(picture), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    assert "80 x 72 pixels, 2 times larger" in capsys.readouterr().out
    with Image.open(tmp_path / "out" / "0.png") as restored:
        assert restored.size == (80, 72)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ([], "nothing to restore"),
        (["--noise", "25", "--upscale", "5"], "upscale"),
        (["--noise", "25", "--mixup", "0.2"], "mixup: has no effect in restoration"),
        (["--noise", "25", "--data", "images:nowhere"], "images:nowhere: no such folder"),
        (["--noise", "25", "--model", "test_resnet"], "does not restore these images"),
        (["--upscale", "2", "--model", "spandrel:nothing.pth"], "spandrel:nothing.pth: no such file"),
        (
            ["--task", "classification", "--noise", "25"],
            "noise: has no effect in classification: it is for restoration",
        ),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, capsys, flags, words):
    net = [] if "--model" in flags else [*NET, *SIZE]
    given = [*net, *REST, "--data", f"images:{run.parent / 'data'}", *flags]
    assert main(["train", *given, "-o", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_eval_says_when_it_is_not_known_what_was_restored(capsys):
    name = "refconv.models.restorers:dncnn_small"
    arguments = ["--task", "restoration", "--data", "photographs", "--device", "cpu"]
    assert main(["eval", name, *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1
