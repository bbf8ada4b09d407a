"""Sounds keep the sampling rate that a model was trained with, in every command and file."""

import json

import numpy as np
import pytest

from refconv.cli import main
from refconv.data import open_data
from refconv.data.preprocessing import Statement, resolve
from refconv.models.opening import input_of, open_model

soundfile = pytest.importorskip("soundfile")


def write_sounds(folder, rate):
    for index, path in enumerate(folder / f"{split}/{name}/{n}.wav" for split in ("train", "test")
                                for name in ("low", "high") for n in range(4)):  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, np.random.default_rng(index).uniform(-0.5, 0.5, 64), rate)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on sounds of 8,000 Hz, and the folder of these sounds."""
    folder = tmp_path_factory.mktemp("sounds")
    sounds = write_sounds(folder / "8k", 8000)
    model = ["--model", "refconv.models.networks:mobilenet_1d", "--model-kwargs", "width=0.25", "--in-chans", "1"]
    how = ["--epochs", "1", "--batch-size", "4", "--workers", "0", "--device", "cpu", "--out", str(folder / "run")]
    assert main(["train", *model, "--data", f"folder:{sounds}", *how]) == 0
    return folder / "run", sounds


def test_the_rate_is_stored_with_the_model(trained):
    run, sounds = trained
    assert json.loads((run / "model/config.json").read_text())["sample_rate"] == 8000
    for reference in (run, run / "model", run / "checkpoint.pt"):
        assert input_of(open_model(str(reference)), pictures=False).sample_rate == 8000
    assert "64, 8000 Hz" in str(open_data(f"folder:{sounds}").preprocessing)
    assert "Hz" not in str(resolve([Statement("flags", {"input_size": (1, 64)})], in_chans=1))


def test_predict_refuses_a_sound_of_another_rate(trained, tmp_path, capsys):
    run, sounds = trained
    other = write_sounds(tmp_path / "16k", 16000)
    assert main(["predict", str(run), str(sounds / "test"), "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main(["predict", str(run), str(other / "test"), "--device", "cpu"]) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert "16k/test/high/0.wav: another sampling rate; expected 8000 Hz, found 16000 Hz; resample the sounds" in error


def test_evaluation_and_further_training_refuse_data_of_another_rate(trained, tmp_path, capsys):
    run, _ = trained
    other = f"folder:{write_sounds(tmp_path / '16k', 16000)}"
    further = ["--model", "refconv.models.networks:mobilenet_1d", "--model-kwargs", "width=0.25", "--in-chans", "1"]
    for command in (
        ["eval", str(run), "--data", other],
        ["train", *further, "--checkpoint", str(run), "--data", other, "--out", str(tmp_path / "next")],
    ):
        assert main([*command, "--workers", "0", "--device", "cpu"]) == 2
        error = capsys.readouterr().err.splitlines()[-1]
        assert f"{other}: another sampling rate; expected 8000 Hz, found 16000 Hz" in error
