"""``refconv merge`` writes the plain model of any checkpoint of a run, and certifies it."""

import pytest
import timm
import torch

from refconv.cli import main
from refconv.training.model_folder import load_model_folder
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
    assert "holds something else than a model" in capsys.readouterr().err
    assert (tmp_path / "home" / "precious.txt").read_text() == "x"


def test_merge_refuses_weights_alone(tmp_path, capsys):
    torch.save({"a": torch.zeros(1)}, tmp_path / "a.pth")
    assert main(["merge", str(tmp_path / "a.pth"), "-o", str(tmp_path / "out")]) == 2
    assert "not a checkpoint of a run" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
