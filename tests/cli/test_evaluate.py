"""``refconv eval`` gives the accuracy that the library gives."""

import json

import pytest

from refconv.cli import main
from refconv.training.data import open_data
from refconv.training.evaluation import ClassificationEvaluation, evaluate
from run_checkpoints import save_run, small_recipe


@pytest.mark.parametrize("which", ["", "checkpoint.pt", "model"])
def test_eval_evaluates_what_was_named(tmp_path, capsys, which):
    trained = save_run(tmp_path / "run", small_recipe())
    arguments = ["eval", str(tmp_path / "run" / which), "--data", "digits", "--device", "cpu"]
    assert main([*arguments, "--json"]) == 0
    found = ClassificationEvaluation.from_dict(json.loads(capsys.readouterr().out))
    expected = evaluate(trained, open_data("digits", mean=(0.3,), std=(0.4,)))
    assert found.samples == 359
    assert found.top1 == expected.top1
    assert found.loss == pytest.approx(expected.loss, rel=1e-4)
    assert main(arguments) == 0
    assert f"digits, test: {found}" in capsys.readouterr().out


def test_eval_takes_the_data_of_the_run(tmp_path, capsys):
    save_run(tmp_path / "run", small_recipe(val_split=0.1))
    assert main(["eval", str(tmp_path / "run"), "--split", "val", "--device", "cpu"]) == 0
    assert "digits, val" in capsys.readouterr().out


def test_eval_says_when_model_and_data_do_not_fit(tmp_path, capsys):
    save_run(tmp_path / "run", small_recipe())
    assert main(["eval", str(tmp_path / "run"), "--data", "mnist1d", "--device", "cpu"]) == 2
    assert main(["eval", str(tmp_path / "run" / "model"), "--device", "cpu"]) == 2
    assert "give --data" in capsys.readouterr().err
