"""Exported files are opened by name: evaluated and predicted with as the network is; other commands refuse them."""

import io
import json
import os
import warnings
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from exported_networks import Boxes, Small, lively, opened
from refconv.cli import main
from refconv.data import open_data
from refconv.errors import CheckpointError, ModelError, TrustError
from refconv.exporting import ExportConfig
from refconv.exporting.exporting import export_opened
from refconv.exporting.inputs import Evidence
from refconv.models.exported import ExportedModel, open_runtime
from refconv.models.opening import open_model
from refconv.named_code import trusting
from run_checkpoints import save_run, small_recipe


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A run of the digits and files of it: logits, and probabilities of bytes."""
    folder = tmp_path_factory.mktemp("exported")
    save_run(folder / "run", small_recipe(model_kwargs={"width": 0.25, "strides": [1]}))
    run = open_model(str(folder / "run"))
    export_opened(run, folder / "a.onnx", ExportConfig(), Evidence())
    config = ExportConfig(format="torchscript", with_preprocessing=True, softmax=True)
    export_opened(run, folder / "b.torchscript", config, Evidence())
    return folder


@pytest.mark.parametrize("name", ["a.onnx", "b.torchscript"])
def test_eval_of_a_file_is_that_of_the_run(files, capsys, name):
    found = []
    for model in ("run", name):
        command = ["eval", str(files / model), "--data", "digits", "--device", "cpu", "--json", "--trust"]
        assert main(command) == 0
        found.append(json.loads(capsys.readouterr().out))
    for measure, value in found[0].items():
        assert found[1][measure] == pytest.approx(value, rel=1e-3), measure


@pytest.mark.parametrize("name", ["a.onnx", "b.torchscript"])
def test_predict_of_a_file_is_that_of_the_run(files, tmp_path, capsys, name):
    samples, _ = next(open_data("digits", mean=(0.0,), std=(1.0,)).eval_batches("test", batch_size=1))
    Image.fromarray((samples[0, 0] * 255).round().numpy().astype(np.uint8)).save(tmp_path / "x.png")
    found = []
    for model in ("run", name):
        assert (
            main(["predict", str(files / model), str(tmp_path / "x.png"), "--device", "cpu", "--json", "--trust"]) == 0
        )
        found.append(json.loads(capsys.readouterr().out)["classes"])
    for one, other in zip(*found, strict=True):
        assert one["class"] == other["class"]
        assert one["probability"] == pytest.approx(other["probability"], rel=1e-3)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_samples_of_another_size_are_refused_in_one_line(files, tmp_path, capsys, suffix):
    file = files / "a.onnx" if suffix == ".onnx" else tmp_path / f"a{suffix}"
    if not file.is_file():
        export_opened(open_model(str(files / "run")), file, ExportConfig.for_file(file), Evidence())
    command = ["eval", str(file), "--data", "digits", "--device", "cpu", "--img-size", "16", "--trust"]
    assert main(command) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("refconv: error")]
    said = "the exported file does not take these samples; expected [1, 8, 8], found [1, 16, 16]; leave --img-size out"
    assert said in line


def test_a_file_of_a_detector_gives_boxes_for_each_image(tmp_path):
    model = lively(Boxes())
    detector = opened(model, "detection", input_size=[3, 12, 16])
    export_opened(detector, tmp_path / "a.torchscript", ExportConfig(format="torchscript"), Evidence(), builds=False)
    images = [torch.rand(3, 12, 16), torch.rand(3, 9, 20)]
    with trusting(True):
        found = open_model(str(tmp_path / "a.torchscript"), exported=True)
    assert found.task == "detection"
    for one, other in zip(found.model(images), model(images), strict=True):
        assert one.keys() == other.keys()
        torch.testing.assert_close(one["boxes"], other["boxes"])
        torch.testing.assert_close(one["scores"], other["scores"])


@pytest.mark.parametrize("command", ["verify", "analyze"])
def test_commands_that_look_at_modules_refuse_a_file_in_one_line(files, capsys, command):
    pair = [str(files / "run"), str(files / "a.onnx")]
    words = pair if command == "verify" else ["--before", pair[0], "--after", pair[1]]
    assert main([command, *words]) == 2
    error = capsys.readouterr().err
    assert "an exported file has no modules to look at" in error
    assert error.count("\n") == 1


class Call:
    """Calls a function with a text when it is unpickled."""

    def __init__(self, *called):
        self.called = called

    def __reduce__(self):
        return self.called[0], self.called[1:]


def with_pickle(file, target, called):
    """Write an exported program whose example inputs call a function when they are unpickled."""
    planted = io.BytesIO()
    torch.save(called, planted)
    with zipfile.ZipFile(file) as whole, zipfile.ZipFile(target, "w") as changed:
        for name in whole.namelist():
            inside = "sample_inputs" in name
            changed.writestr(name, planted.getvalue() if inside else whole.read(name))


@pytest.mark.parametrize("command", ["eval", "predict"])
def test_a_file_that_is_a_program_is_opened_only_where_it_is_trusted(files, tmp_path, capsys, command):
    class Writes(torch.nn.Module):
        def forward(self, images):
            torch.save(images, "written.pt")
            return images.flatten(1)[:, :10]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit warns of its successor
        script = torch.jit.script(Writes())
    script.save(str(tmp_path / "a.torchscript"))
    whole = tmp_path / "whole.pt2"
    export_opened(open_model(str(files / "run")), whole, ExportConfig.for_file(whole), Evidence())
    with_pickle(whole, tmp_path / "a.pt2", Call(os.mkdir, str(tmp_path / "made")))
    Image.new("L", (8, 8)).save(tmp_path / "x.png")
    words = ["--data", "digits"] if command == "eval" else [str(tmp_path / "x.png")]
    for name, kind in (("a.pt2", "torch.export"), ("a.torchscript", "TorchScript")):
        assert main([command, str(tmp_path / name), *words, "--device", "cpu"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"{name}: refused, because a {kind} file is a program; if you know who wrote it: --trust" in line
        with pytest.raises(TrustError, match=r"in Python refconv\.trust\(\)"):
            open_model(str(tmp_path / name), exported=True)
    assert not (tmp_path / "made").exists()
    assert not list(tmp_path.glob("**/written.pt"))


def test_open_model_gives_an_exported_model_only_where_it_is_asked_for(files):
    assert isinstance(open_model(str(files / "a.onnx"), exported=True).model, ExportedModel)
    with pytest.raises(ModelError, match="name the run or model folder that it was made of"):
        open_model(str(files / "a.onnx"))


@pytest.mark.parametrize("suffix", [".onnx", ".pt2", ".torchscript", ".xml"])
def test_a_damaged_or_missing_file_is_one_line(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(CheckpointError, match="no such run, model folder or file"):
        open_model(str(path), exported=True)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(CheckpointError, match="cannot be opened"):
        open_runtime(path)


def test_a_file_of_somebody_else_says_what_is_missing(tmp_path):
    program = torch.export.export(lively(Small()), (torch.randn(2, 3, 8, 8),))
    torch.export.save(program, tmp_path / "a.pt2")
    with pytest.raises(CheckpointError, match="expected a file that refconv export wrote; export the model again"):
        open_runtime(tmp_path / "a.pt2")


def test_the_names_of_a_librarys_classes_are_in_the_file_and_matched_as_the_networks_own(tmp_path):
    model = lively(Small(1000))
    network = opened(model, name="test_resnet", input_size=[3, 12, 16])
    config = ExportConfig(format="torchscript")
    export_opened(network, tmp_path / "a.torchscript", config, Evidence(), builds=False)
    said = json.loads(open_runtime(tmp_path / "a.torchscript").metadata["class_names"])
    assert (len(said), said[0]) == (1000, "tench")
    with trusting(True):
        found = open_model(str(tmp_path / "a.torchscript"), exported=True)
    assert (found.class_names, found.class_name(0)) == ((), "tench")
