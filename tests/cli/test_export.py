"""``refconv export`` and ``refconv bench``: what they print, write and refuse, and their exit status."""

import json

import pytest
import torch
from PIL import Image
from torch import nn

from refconv.cli import main
from refconv.exporting import exporting, timing
from run_checkpoints import save_run, small_recipe

SMALL = {"width": 0.25, "strides": [1]}  # exporting takes a time for each layer


@pytest.fixture
def run(tmp_path):
    save_run(tmp_path / "run", small_recipe(model_kwargs=SMALL))
    return str(tmp_path / "run")


def test_export_writes_a_file_and_reports_on_it(tmp_path, capsys, run):
    file = str(tmp_path / "a.pt2")
    assert main(["export", run, "--format", "pt2", "-o", file, "--softmax", "--with-preprocessing"]) == 0
    said = capsys.readouterr().out
    assert f"{file}: refconv.models.networks:mobilenet_small as pt2, float32" in said
    assert "images     uint8 [batch, 8, 8, 1]; grey bytes, resized and cropped outside: 8 x 8 px" in said
    assert "the same as the unrefocused network" in said
    assert "on 32 test images of digits" in said
    assert main(["export", run, "-o", file]) == 2
    assert f"{file}: exists already; give another file, or --force to replace it" in capsys.readouterr().err
    assert main(["export", run, "-o", file, "--force", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert (record["format"], record["gives"]) == ("pt2", ["logits"])
    assert record["checked_on"] == "32 test images of digits"


class Pooled(nn.Sequential):
    """A network that says nothing about its input."""

    def __init__(self):
        super().__init__(nn.Conv2d(3, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_data_say_the_input_of_a_network_that_does_not_as_for_eval(tmp_path, capsys):
    torch.save(Pooled().state_dict(), tmp_path / "w.pth")
    for name in ("train/a/0", "train/b/0", "val/a/0", "val/b/0"):
        (tmp_path / "data" / name).parent.mkdir(parents=True)
        Image.new("RGB", (12, 12), (9, 99, len(name))).save(tmp_path / "data" / f"{name}.png")
    network = [str(tmp_path / "w.pth"), "--model", "cli.test_export:Pooled"]
    file, data = str(tmp_path / "a.torchscript"), ["--data", f"folder:{tmp_path / 'data'}"]
    assert main(["export", *network, "-o", file]) == 2
    assert "size of the model's input is not known; give --img-size or --data, in Python" in capsys.readouterr().err
    assert main(["export", *network, "-o", file, *data]) == 0
    said = "".join(capsys.readouterr())
    assert "float32 [batch, 3, 12, 12]" in said
    assert "12 x 12 px, whole (size of the images)" in said
    assert "does not say how its images are prepared" not in said
    assert main(["export", *network, "-o", file, *data, "--img-size", "9", "--force"]) == 0
    assert "float32 [batch, 3, 9, 9]" in capsys.readouterr().out


def test_the_exit_status_is_3_where_the_file_computes_something_else(tmp_path, capsys, run, monkeypatch):
    usual = exporting.compared

    def apart(*given):
        return usual(*given)._replace(relative=0.01)

    monkeypatch.setattr(exporting, "compared", apart)
    assert main(["export", run, "-o", str(tmp_path / "a.torchscript")]) == 3
    assert "DIFFERENT" in capsys.readouterr().out


def test_the_exit_status_is_3_where_the_file_has_more_operations(tmp_path, capsys, run, monkeypatch):
    usual, calls = exporting.operations, []

    def more(path):
        calls.append(path)
        found = usual(path)
        return {**found, "aten::conv2d": 99} if len(calls) == 1 else found

    monkeypatch.setattr(exporting, "operations", more)
    assert main(["export", run, "-o", str(tmp_path / "a.torchscript")]) == 3
    assert "NOT those of" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-o", "a.tflite"], "a.tflite: not a name for this format; expected a name that ends in .onnx"),
        (["-o", "a.onnx", "--format", "onxx"], "format: unknown format"),
        (["-o", "a.pt2", "--int8"], "int8: is for the format onnx; found format pt2"),
        (["-o", "a.pt2", "--data", "nothing"], "nothing: unknown data"),
        ([], "Missing option"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, run, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["export", run, *words]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_unfinished_run_says_how_to_merge_it(tmp_path, capsys):
    save_run(tmp_path / "run", small_recipe(), finished=False)
    assert main(["export", str(tmp_path / "run"), "-o", str(tmp_path / "a.onnx")]) == 2
    assert "the model is refocused; expected a merged model" in capsys.readouterr().err


def test_sizes_for_tasks_of_whole_images_are_refused(tmp_path, capsys):
    words = ["export", "refconv.models.restorers:dncnn_small", "--no-pretrained", "--task", "restoration"]
    assert main([*words, "-o", str(tmp_path / "a.pt2"), "--img-size", "64"]) == 2
    assert "img_size: has no effect: the file takes whole images" in capsys.readouterr().err


def test_bench_prints_ratios_and_refuses_two_structures(tmp_path, capsys, run, monkeypatch):
    monkeypatch.setattr(timing, "_STATUS", tmp_path / "none")  # tests/exporting/test_timing.py measures memory
    assert main(["bench", "--before", run, "--after", run, "--repetitions", "10"]) == 0
    assert "onnxruntime" in capsys.readouterr().out
    other = small_recipe(model_kwargs={**SMALL, "width": 0.5})
    save_run(tmp_path / "other", other)
    assert main(["bench", "--before", run, "--after", str(tmp_path / "other")]) == 2
    assert "not the same network, so nothing was measured" in capsys.readouterr().err
