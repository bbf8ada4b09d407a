"""``refconv merge`` writes the plain model of any checkpoint of a run, and certifies it."""

import os

import pytest
import safetensors.torch
import timm
import torch

import refconv
from networks import randomise
from refconv.cli import main
from refconv.config import FIELDS
from refconv.models.model_folder import load_model_folder
from refconv.models.networks import mobilenet_small
from run_checkpoints import save_run, small_recipe


@pytest.mark.parametrize("settings", [{}, {"method": "plain"}, {"interpolation": "random", "crop_pct": 0.9}])
@pytest.mark.parametrize("which", ["", "checkpoint.pt"])
def test_merge_writes_the_plain_model(tmp_path, capsys, settings, which):
    trained = save_run(tmp_path / "run", small_recipe(**settings), finished=False).eval()
    assert main(["merge", str(tmp_path / "run" / which), "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "after 5 steps" in printed
    assert "structure  the same" in printed
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(load_model_folder(tmp_path / "out").eval()(x), trained(x))


def test_merge_writes_what_timm_loads(tmp_path):
    recipe = small_recipe(model="test_efficientnet", model_kwargs={}, img_size=32)
    trained = save_run(tmp_path / "run", recipe, finished=False, ema=True).eval()
    assert main(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 0
    x = torch.randn(2, 1, 32, 32)
    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    torch.testing.assert_close(model(x), trained(x), atol=1e-5, rtol=1e-4)  # 20 layers of float32


def test_merge_replaces_a_model_only_when_forced(tmp_path, capsys):
    save_run(tmp_path / "run", small_recipe(), finished=False)
    arguments = ["merge", str(tmp_path / "run"), "-o", str(tmp_path / "out")]
    assert main(arguments) == 0
    assert main(arguments) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*arguments, "--force"]) == 0


def test_merge_never_replaces_anything_else(tmp_path, capsys):
    save_run(tmp_path / "run", small_recipe(), finished=False)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious.txt").write_text("x")
    assert main(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "home"), "--force"]) == 2
    assert "holds something other than a model" in capsys.readouterr().err
    assert (tmp_path / "home" / "precious.txt").read_text() == "x"


def test_merge_says_that_a_model_folder_is_plain_already(tmp_path, capsys):
    (tmp_path / "plain").mkdir()
    (tmp_path / "plain/config.json").write_text("{}")
    (tmp_path / "plain/model.safetensors").write_bytes(b"")
    assert main(["merge", str(tmp_path / "plain"), "-o", str(tmp_path / "out")]) == 2
    assert "plain: is plain already, so there is nothing to merge" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["merge"], ["eval", "--data", "digits"], ["export", "--format", "onnx"]])
def test_a_run_without_its_checkpoint_is_said_to_be_one(tmp_path, capsys, command):
    save_run(tmp_path / "run", small_recipe(), finished=False)
    (tmp_path / "run/checkpoint.pt").unlink()
    out = [] if command[0] == "eval" else ["-o", str(tmp_path / "out.onnx")]
    assert main([command[0], str(tmp_path / "run"), *command[1:], *out]) == 2
    words = (
        f"{tmp_path}/run: a run whose checkpoint is missing; expected a file checkpoint.pt, found recipe.toml; begin"
    )
    assert f"refconv: error: {words} it again: refconv train --recipe" in capsys.readouterr().err


def test_merge_of_a_finished_run_without_checkpoint_names_its_result(tmp_path, capsys):
    save_run(tmp_path / "run", small_recipe())
    (tmp_path / "run/checkpoint.pt").unlink()
    assert main(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 2
    assert f"its result is plain already: {tmp_path}/run/model" in capsys.readouterr().err


def test_merge_refuses_weights_alone(tmp_path, capsys):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    assert main(["merge", str(tmp_path / "a.pth"), "-o", str(tmp_path / "out")]) == 2
    assert "not a checkpoint of a run" in capsys.readouterr().err
    assert main(["merge", str(tmp_path / "a.pth"), "-o", str(tmp_path / "out"), "--model", "test_resnet"]) == 2
    assert "holds plain weights, so there is nothing to merge" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


NAME = ["--model", "refconv.models.networks:mobilenet_small", "--model-kwargs", "width=0.25", "--num-classes", "4"]


@pytest.fixture
def foreign(tmp_path):
    """Weights as another trainer's average of a refocused model leaves them, with and without metadata."""
    torch.manual_seed(0)
    model = mobilenet_small(num_classes=4, width=0.25)
    refconv.refocus(model, power=0.5, order="across")
    randomise(model)
    averaged = torch.optim.swa_utils.AveragedModel(model)
    torch.save({"model_state_dict": averaged.state_dict()}, tmp_path / "a.pth")
    safetensors.torch.save_file(dict(averaged.state_dict()), tmp_path / "a.safetensors")
    return model.eval()


def test_merge_takes_refocused_weights_of_other_programs(tmp_path, capsys, foreign):
    out = ["-o", str(tmp_path / "out"), *NAME, "--in-chans", "1", "--img-size", "8"]
    assert main(["merge", str(tmp_path / "a.pth"), *out]) == 0
    assert "do not say how" not in (printed := capsys.readouterr().out)
    assert "with the weights of" in printed
    x = torch.randn(4, 1, 8, 8)
    torch.testing.assert_close(load_model_folder(tmp_path / "out").eval()(x), foreign(x))
    assert main(["merge", str(tmp_path / "a.safetensors"), *out, "--force"]) == 2
    needed = capsys.readouterr().err
    assert "but not with which" in needed
    assert "--power ... --gram-scale ..." in needed
    settings = foreign.stem[0].parametrizations.weight[0].settings()
    told = [text for name, value in settings.items() if name != "map_size" for text in _flag(name, value)]
    assert main(["merge", str(tmp_path / "a.safetensors"), *out, "--force", *told]) == 0
    printed = capsys.readouterr()
    assert "which do not say how their kernels were made; assumed: refocus with " in printed.out
    assert "power 0.5" in printed.out
    assert (
        printed.err
        == "images: L, 8 x 8 px (flags); bilinear, center crop 0.875, mean 0.449, std 0.226 (ImageNet's default)\n"
    )
    torch.testing.assert_close(load_model_folder(tmp_path / "out").eval()(x), foreign(x))


def _flag(name, value):
    name = FIELDS.get(name, name).replace("_", "-")
    return [f"--{name}" if value else f"--no-{name}"] if isinstance(value, bool) else [f"--{name}", str(value)]


def test_merge_refuses_flags_that_would_have_no_effect(tmp_path, capsys):
    save_run(tmp_path / "run", small_recipe(), finished=False)
    assert main(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "out"), "--power", "0.5"]) == 2
    assert "--power: has no effect" in capsys.readouterr().err


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_merge_writes_with_the_rights_of_the_umask(tmp_path, mask):
    save_run(tmp_path / "run", small_recipe(), finished=False)
    before = os.umask(mask)
    try:
        assert main(["merge", str(tmp_path / "run"), "-o", str(tmp_path / "out")]) == 0
    finally:
        os.umask(before)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "out").iterdir()} == {0o666 & ~mask}
