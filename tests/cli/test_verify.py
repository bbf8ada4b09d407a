"""``refconv verify`` prints the certificate, and its exit status says whether it holds."""

import json

import pytest
import safetensors.torch
import torch

from refconv.cli import main
from refconv.surgery import Certificate, plain_state_dict
from run_checkpoints import save_run, small_recipe


@pytest.fixture
def run(tmp_path):
    model = save_run(tmp_path / "run", small_recipe())
    torch.save(plain_state_dict(model), tmp_path / "weights.pth")
    save_run(tmp_path / "other", small_recipe(seed=1))
    save_run(tmp_path / "wider", small_recipe(model_kwargs={"width": 0.5}))
    return tmp_path


@pytest.mark.parametrize(
    ("before", "after", "flags", "status"),
    [
        ("run", "run/checkpoint.pt", ["--equal"], 0),
        ("run", "run/model", ["--equal", "--data", "digits"], 0),
        ("weights.pth", "run", ["--equal"], 0),
        ("run", "other", [], 0),
        ("run", "other", ["--data", "digits"], 0),
        ("run", "other", ["--equal"], 3),
        ("run", "wider", [], 3),
        ("run", "wider", ["--equal"], 3),
        ("run", "weights.pth", ["--equal", "--samples", "3"], 0),
    ],
)
def test_verify_says_by_its_status_whether_the_certificate_holds(run, capsys, before, after, flags, status):
    assert main(["verify", str(run / before), str(run / after), *flags]) == status
    printed = capsys.readouterr().out
    assert printed.startswith("structure  " + ("DIFFERENT" if "wider" in after else "the same"))
    assert ("outputs    not compared" in printed) == (not flags)


def test_verify_compares_a_run_with_its_factory(run, capsys):
    name = "refconv.models.networks:mobilenet_small"
    assert main(["verify", name, str(run / "run")]) == 2
    assert "pretrained weights are not available" in capsys.readouterr().err
    assert main(["verify", name, str(run / "run"), "--no-pretrained"]) == 0
    capsys.readouterr()
    assert main(["verify", "test_resnet", str(run / "run"), "--no-pretrained"]) == 3
    first, keys, *_ = capsys.readouterr().out.splitlines()
    assert first == "structure  DIFFERENT: no convolution kernel has the same key and shape in both"
    assert "missing" in keys


def test_verify_prints_the_record(run, capsys):
    assert main(["verify", str(run / "run"), str(run / "other"), "--data", "digits", "--json"]) == 0
    certificate = Certificate.from_dict(json.loads(capsys.readouterr().out))
    assert certificate.same_structure
    assert certificate.same_outputs is False
    assert certificate.batch == 64


def test_verify_refuses_code(run, capsys):
    torch.save(torch.nn.Linear(2, 2), run / "evil.pth")
    assert main(["verify", str(run / "run"), str(run / "evil.pth")]) == 2
    assert "would run code" in capsys.readouterr().err


def test_verify_never_certifies_outputs_that_it_could_not_look_into(run, capsys, monkeypatch):
    (run / "closed.py").write_text(
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.conv = nn.Conv2d(1, 2, 3)\n"
        "    def forward(self, x):\n"
        "        return iter([self.conv(x)])\n"
        "def net() -> nn.Module:\n"
        "    return Net()\n"
    )
    monkeypatch.chdir(run)
    monkeypatch.syspath_prepend(str(run))
    import closed

    torch.save(closed.net().state_dict(), run / "a.pth")
    flags = ["verify", "a.pth", "a.pth", "--model", "closed:net", "--data", "digits"]
    assert main(flags) == 0
    assert main([*flags, "--equal"]) == 3
    assert "outputs    not compared (1 parts cannot be looked into" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["pth", "safetensors"])
def test_verify_compares_the_types_that_files_hold_and_loading_says_that_it_converts(run, capsys, kind):
    state = torch.load(run / "weights.pth")
    half = {name: value.bfloat16() if value.is_floating_point() else value for name, value in state.items()}
    if kind == "pth":
        torch.save({f"module.{name}": value for name, value in half.items()}, run / "half.pth")
    else:
        safetensors.torch.save_file(half, run / "half.safetensors")
    file = str(run / f"half.{kind}")
    assert main(["verify", file, str(run / "run"), "--json"]) == 3
    said = capsys.readouterr()
    line = f"refconv: warning: {file}: weights are bfloat16; the model computes, trains and is saved in float32"
    assert said.err.splitlines() == [line]
    floating = [name for name, value in state.items() if value.is_floating_point()]
    assert Certificate.from_json(said.out).dtypes == tuple(f"{name}: bfloat16 -> float32" for name in floating)
    assert main(["verify", file, file, "--model", f"local-dir:{run / 'run/model'}"]) == 0
    capsys.readouterr()
    assert main(["eval", file, "--model", f"local-dir:{run / 'run/model'}", "--data", "digits", "--device", "cpu"]) == 0
    assert capsys.readouterr().err.splitlines().count(line) == 1
