"""Signals through the commands: a 1-D network trained on mnist1d, evaluated, merged and certified."""

import json

import pytest

from refconv.cli import main

NET = ["--model", "refconv.models.networks:mobilenet_1d", "--model-kwargs", "width=0.5", "--device", "cpu"]


FLAGS = ["--data", "mnist1d", "--batch-size", "100", "--lr", "0.1"]


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    out = tmp_path_factory.mktemp("signals") / "base"
    assert main(["train", *NET, *FLAGS, "--epochs", "1", "-o", str(out)]) == 0
    return out


@pytest.mark.parametrize("space", ["kernel", "gradient"])
def test_signals_go_through_every_command(space, base, tmp_path, capsys):
    run = tmp_path / "run"
    refocused = ["--checkpoint", str(base), "--method", "refocus", "--space", space, "--include", "depthwise"]
    assert main(["train", *NET, *FLAGS, "--epochs", "1", *refocused, "-o", str(run)]) == 0
    record = json.loads((run / "record.json").read_text())
    assert record["sites"] == 4
    assert record["top1"] > 0.3  # 0.1 by chance
    capsys.readouterr()
    assert main(["eval", str(run), "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["top1"] == record["top1"]
    assert main(["merge", str(run / "checkpoint.pt"), "-o", str(tmp_path / "merged")]) == 0
    assert main(["verify", str(tmp_path / "merged"), str(run), "--equal", "--data", "mnist1d"]) == 0
    assert main(["verify", str(base), str(run)]) == 0
    capsys.readouterr()
    assert main(["verify", str(base), str(run), "--equal"]) == 3  # training moved the kernels
