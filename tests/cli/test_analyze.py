"""``refconv analyze`` gives the records that the library gives, for any two models that can be named."""

import json

import pytest

from refconv import analysis
from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES
from refconv.cli import main
from refconv.surgery import merged
from refconv.training.data import open_data
from run_checkpoints import save_run, small_recipe


@pytest.fixture
def pair(tmp_path):
    before = save_run(tmp_path / "before", small_recipe(method="plain"))
    after = save_run(tmp_path / "after", small_recipe())
    return before, merged(after)


def test_records_are_those_of_the_library(tmp_path, capsys, pair):
    command = ["analyze", "--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == sorted(WEIGHT_MEASURES)
    assert all(f"{name}\n\n" in shown for name in WEIGHT_MEASURES)
    assert analysis.Redundancy.read(tmp_path / "out/redundancy.json") == analysis.redundancy(*pair)
    assert analysis.GramSpectra.read(tmp_path / "out/spectrum.json") == analysis.gram_spectra(pair[0])


def test_a_checkpoint_in_training_counts_as_what_it_merges_to(tmp_path, capsys, pair):
    after = str(tmp_path / "after" / "checkpoint.pt")
    command = ["analyze", "--before", str(tmp_path / "before"), "--after", after, "--only", "movement", "--json"]
    assert main([*command, "--include", "blocks.0.*"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == {"movement": analysis.movement(*pair, include=["blocks.0.*"]).to_dict()}
    assert found["movement"]["layers"]


def test_measures_with_data_are_those_of_the_library(tmp_path, capsys, pair):
    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    wanted = ["--only", "agreement", "--only", "calibration", "--only", "shifts"]
    assert main(["analyze", *sides, "--data", "digits", "--samples", "50", "--device", "cpu", *wanted, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(found) == [
        "agreement", "calibration-after", "calibration-before", "shifts-after", "shifts-before",
    ]  # fmt: skip
    batches = list(open_data("digits", mean=(0.3,), std=(0.4,)).eval_batches("test", batch_size=128))
    assert found["agreement"] == analysis.agreement(*pair, batches, max_samples=50).to_dict()
    for side, model in zip(("before", "after"), pair, strict=True):
        assert found[f"calibration-{side}"] == analysis.calibration(model, batches, max_samples=50).to_dict()


@pytest.mark.slow
def test_every_measure_with_data_runs(tmp_path, capsys, pair):
    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    command = [
        "analyze",
        *sides,
        "--data",
        "digits",
        "--samples",
        "16",
        "--device",
        "cpu",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(command) == 0
    written = {path.stem.removesuffix("-before").removesuffix("-after") for path in (tmp_path / "out").iterdir()}
    assert written == {*WEIGHT_MEASURES, *DATA_MEASURES}


def test_what_data_cannot_measure_is_said(tmp_path, capsys, pair):
    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    assert main(["analyze", *sides, "--only", "attacks"]) == 2
    assert "--only: no such measure; expected redundancy" in (said := capsys.readouterr().err)
    assert "give --data" in said
    config = tmp_path / "after/model/config.json"
    config.write_text(config.read_text().replace('"architecture"', '"task": "restoration", "architecture"'))
    assert main(["analyze", *sides, "--data", "digits"]) == 2
    assert "--data: measures with data are for classifiers; found a model for restoration" in capsys.readouterr().err
    assert main(["analyze", *sides, "--data", "digits", "--split", "all"]) == 2
    assert "--split: unknown split" in capsys.readouterr().err


def test_what_cannot_be_compared_is_one_line(tmp_path, capsys, pair):
    save_run(tmp_path / "other", small_recipe(model_kwargs={"width": 0.5}))
    command = ["analyze", "--before", str(tmp_path / "before"), "--after", str(tmp_path / "other")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert main([*command, "--only", "colour"]) == 2
    assert "--only: no such measure; expected redundancy, skeleton" in capsys.readouterr().err
