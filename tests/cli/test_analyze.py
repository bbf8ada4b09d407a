"""``refconv analyze`` gives the records that the library gives, for any two models that can be named."""

import json

import pytest

from refconv import analysis
from refconv.analysis.registry import WEIGHT_MEASURES
from refconv.cli import main
from refconv.surgery import merged
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


def test_what_cannot_be_compared_is_one_line(tmp_path, capsys, pair):
    save_run(tmp_path / "other", small_recipe(model_kwargs={"width": 0.5}))
    command = ["analyze", "--before", str(tmp_path / "before"), "--after", str(tmp_path / "other")]
    assert main(command) == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    assert main([*command, "--only", "colour"]) == 2
    assert "--only: no such measure; expected redundancy, skeleton" in capsys.readouterr().err
