"""``refconv predict`` says what the library says, for files and folders, and what it cannot read."""

import importlib
import json
import os
import shutil
import sys

import numpy as np
import pytest
import timm
import torch
import torchvision
from PIL import Image

from refconv.cli import main
from refconv.data import open_data
from refconv.data.class_names import library_names
from refconv.digests import with_digest
from run_checkpoints import save_run, small_recipe


@pytest.fixture
def images(tmp_path):
    """Three digits as files, two of them in folders of their own under one name."""
    samples, _ = next(open_data("digits", mean=(0.0,), std=(1.0,)).eval_batches("test", batch_size=3))
    paths = [tmp_path / "in/a/x.png", tmp_path / "in/b/x.png", tmp_path / "in/y.png"]
    for path, sample in zip(paths, samples, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((sample[0] * 255).round().numpy().astype(np.uint8)).save(path)
    return paths


@pytest.fixture
def run(tmp_path):
    return save_run(tmp_path / "run", small_recipe()).eval()


def test_predict_says_the_classes_that_the_model_gives(tmp_path, capsys, images, run):
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "in"), "--device", "cpu", "--json"]) == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [entry["image"] for entry in said] == [str(path) for path in images]
    for path, entry in zip(images, said, strict=True):
        pixels = torch.from_numpy(np.array(Image.open(path))).float() / 255
        probabilities = run(((pixels - 0.3) / 0.4)[None, None]).softmax(1)[0].detach()
        assert [found["class"] for found in entry["classes"]] == probabilities.topk(5).indices.tolist()
        first = entry["classes"][0]
        assert first["probability"] == pytest.approx(float(probabilities.max()), rel=1e-4)
        assert first["name"] == str(first["class"])


def test_the_threshold_leaves_out_what_is_less_sure(tmp_path, capsys, images, run):
    command = ["predict", str(tmp_path / "run"), str(images[0]), "--device", "cpu"]
    assert main([*command, "--threshold", "1"]) == 0
    assert "nothing above the minimum score" in capsys.readouterr().out


def test_predictions_are_written_on_request(tmp_path, capsys, images, run):
    command = ["predict", str(tmp_path / "run"), *map(str, images), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    entries = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [entry["image"] for entry in entries] == [str(path) for path in images]
    assert f"written to {tmp_path / 'out'}" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("name", [b"caf\xe9\x1b[31m.png", b"n" * 251 + b".png"], ids=["not UTF-8", "255 bytes"])
def test_predictions_of_files_of_any_name_are_utf_8(tmp_path, capfdbinary, images, run, name):
    image = images[0].rename(images[0].with_name(os.fsdecode(name)))
    shown = str(image).replace("\udce9", "\\xe9")
    command = ["predict", str(tmp_path / "run"), str(image), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert main(command) == 0
    assert b"\x1b" not in capfdbinary.readouterr().out
    (entry,) = json.loads((tmp_path / "out/predictions.json").read_bytes().decode())
    assert entry["image"] == shown
    assert main([*command, "--json"]) == 0
    said = capfdbinary.readouterr().out
    assert b"\x1b" not in said
    assert json.loads(said.decode())["image"] == shown


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "none.png", "no such image or folder"),
        (
            lambda folder: (folder / "link.png").symlink_to("away.png") or folder / "link.png",
            "no such image or folder; found a link to away.png, where nothing is",
        ),
        (lambda folder: (folder / "empty").mkdir() or folder / "empty", "no images in this folder"),
        (lambda folder: (folder / "bad.png").write_text("no image") and folder / "bad.png", "unreadable image"),
    ],
    ids=["missing", "dangling link", "empty folder", "damaged"],
)
def test_what_cannot_be_read_is_one_line(tmp_path, capsys, run, make, message):
    path = make(tmp_path)
    assert main(["predict", str(tmp_path / "run"), str(path), "--device", "cpu"]) == 2
    (error,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("images: ")]
    assert f"{path}: {message}" in error


@pytest.mark.parametrize("said", [["--json"], ["-q"]])
def test_what_can_be_read_is_predicted_and_the_rest_is_named(tmp_path, capsys, images, run, said):
    bad = [tmp_path / f"in/a/{number}.png" for number in range(5)]
    for path in bad[:4]:
        path.write_text("no image")
    bad[4].symlink_to(tmp_path / "away.png")
    command = ["predict", str(tmp_path / "run"), str(tmp_path / "in"), "--device", "cpu", "--out", str(tmp_path / "o")]
    assert main([*command, *said]) == 3
    shown = capsys.readouterr()
    if "--json" in said:
        lines = [json.loads(line) for line in shown.out.splitlines()]
        assert [line["image"] for line in lines] == [str(path) for path in [*images, *bad]]
        assert ["error" in line for line in lines] == [False] * len(images) + [True] * len(bad)
        link = f"{bad[4]}: unreadable image; found a link to {tmp_path}/away.png, where nothing is; bring back"
        assert lines[-1]["error"].startswith(link)
        for path in bad[:4]:
            assert f"warning: {path}: unreadable image; expected one of the formats" in shown.err
    written = json.loads((tmp_path / "o/predictions.json").read_text())
    assert [entry["image"] for entry in written] == [str(path) for path in images]
    named = ", ".join(map(str, bad[:3]))
    assert shown.err.splitlines()[-1] == f"5 of 8 images could not be read: {named} and 2 more"


def test_where_nothing_can_be_read_the_first_image_is_the_error(tmp_path, capsys, run):
    for name in "ab":
        (tmp_path / f"{name}.png").write_text("no image")
    assert main(["predict", str(tmp_path / "run"), *(str(tmp_path / f"{n}.png") for n in "ab"), "--device", "cpu"]) == 2
    assert f"error: {tmp_path}/a.png: unreadable image" in capsys.readouterr().err.splitlines()[-1]


def test_a_model_of_signals_takes_no_images(tmp_path, capsys, images):
    save_run(tmp_path / "run", small_recipe())
    config = tmp_path / "run/model/config.json"
    content = json.loads(config.read_text())
    content["pretrained_cfg"]["input_size"] = [1, 40]
    config.write_text(json.dumps(with_digest(content)))
    assert main(["predict", str(tmp_path / "run/model"), str(images[0]), "--device", "cpu"]) == 2
    assert "takes no images" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "eval"])
def test_weights_of_a_grey_network_are_one_line_that_leads_out(tmp_path, capsys, images, monkeypatch, command):
    """A file of weights does not say how many channels its network takes."""
    (tmp_path / "greys.py").write_text(
        "from torch import nn\n"
        "def build(num_classes=2):\n"
        "    body = [nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()]\n"
        "    return nn.Sequential(*body, nn.Linear(4, num_classes))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    weights, folder = str(tmp_path / "grey.pth"), tmp_path / "data"
    torch.save(importlib.import_module("greys").build().state_dict(), weights)
    for name in ("test/a", "test/b"):
        (folder / name).mkdir(parents=True)
        shutil.copy(images[0], folder / name)
    given = [str(images[0])] if command == "predict" else ["--data", f"folder:{folder}"]
    named = ["--model", "greys:build", "--img-size", "8", "--device", "cpu"]
    assert main([command, weights, *given, *named]) == 2
    assert "its first convolution takes 1 channels: refconv adopt writes" in capsys.readouterr().err
    assert main(["adopt", *[weights, "-o", str(tmp_path / "adopted")], *named[:4], "--class-names", "a,b"]) == 0
    assert main([command, str(tmp_path / "adopted"), *given, "--trust", "--device", "cpu"]) == 0


@pytest.mark.parametrize(
    ("name", "build"),
    [
        ("test_resnet", lambda: timm.create_model("test_resnet")),
        ("torchvision:squeezenet1_1", lambda: torchvision.models.get_model("squeezenet1_1")),
    ],
)
def test_classes_of_a_librarys_networks_are_said_by_name(tmp_path, capsys, images, name, build):
    torch.save(build().state_dict(), tmp_path / "a.pth")
    command = ["predict", str(tmp_path / "a.pth"), str(images[0]), "--model", name, "--json"]
    assert main([*command, "--device", "cpu", "--img-size", "64"]) == 0
    names = library_names(name, None)
    assert (len(names), names[:2]) == (1000, ("tench", "goldfish"))
    for found in json.loads(capsys.readouterr().out)["classes"]:
        assert found["name"] == names[found["class"]]
