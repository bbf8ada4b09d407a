"""``refconv analyze`` gives the records that the library gives, for any two models that can be named."""

import json
import os
import re
import signal
import sys

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from ready_processes import run_script
from refconv import analysis
from refconv.analysis import timing
from refconv.analysis.evidence import AnalysisConfig, open_evidence
from refconv.analysis.registry import DATA_MEASURES, WEIGHT_MEASURES
from refconv.cli import main
from refconv.data.preprocessing import Statement
from refconv.digests import split_digest
from refconv.errors import ModelError
from refconv.models.opening import Opened
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
    assert sorted(path.stem for path in (tmp_path / "out").iterdir()) == sorted([*WEIGHT_MEASURES, "pair"])
    assert all(f"{name}\n\n" in shown for name in WEIGHT_MEASURES)
    assert analysis.Redundancy.read(tmp_path / "out/redundancy.json") == analysis.redundancy(*pair)
    assert analysis.GramSpectra.read(tmp_path / "out/spectrum.json") == analysis.gram_spectra(pair[0])


def test_a_checkpoint_in_training_counts_as_what_it_merges_to(tmp_path, capsys, pair):
    after = str(tmp_path / "after" / "checkpoint.pt")
    command = ["analyze", "--before", str(tmp_path / "before"), "--after", after, "--only", "movement", "--json"]
    assert main([*command, "--include", "blocks.0.*"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["movement"] == analysis.movement(*pair, include=["blocks.0.*"]).to_dict()
    assert set(found) == {"movement", "verdicts"}
    first = found["verdicts"]["movement"]["findings"][0]
    assert first["text"].startswith("The kernels moved by ")
    assert first["change"] == "different"
    assert found["movement"]["layers"]


def test_measures_with_data_are_those_of_the_library(tmp_path, capsys, pair):
    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    wanted = ["--only", "agreement", "--only", "calibration", "--only", "shifts"]
    assert main(["analyze", *sides, "--data", "digits", "--samples", "50", "--device", "cpu", *wanted, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(found) == [
        "agreement", "calibration-after", "calibration-before", "shifts-after", "shifts-before", "verdicts",
    ]  # fmt: skip
    assert found["verdicts"]["agreement"]["findings"][0]["text"] == "Too few samples to say: 50, and it takes 60."
    opened = tuple(
        Opened(model, "m", {"in_chans": 1}, stated=Statement("the model", {"mean": (0.3,), "std": (0.4,)}, of_run=True))
        for model in pair
    )
    batches = open_evidence(opened, AnalysisConfig(data="digits", device="cpu"))[0].batches
    agreement = analysis.agreement(*pair, batches, max_samples=50).to_dict()
    assert {**found["agreement"], "changed": len(found["agreement"]["changed"])} == {
        **agreement, "changed": len(agreement["changed"]),
    }  # fmt: skip
    for side, model in zip(("before", "after"), pair, strict=True):
        assert found[f"calibration-{side}"] == analysis.calibration(model, batches, max_samples=50).to_dict()


def test_a_bound_on_time_is_passed_on_and_progress_is_told_apart_from_records(tmp_path, capsys, pair, monkeypatch):
    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    command = ["analyze", *sides, "--data", "digits", "--device", "cpu", "--only", "calibration", "--seconds"]
    ticks = iter(range(10**6))
    monkeypatch.setattr(timing, "clock", lambda: float(next(ticks)))
    assert main([*command, "2", "--json"]) == 0
    captured = capsys.readouterr()
    one_batch = 32  # of which fewer samples would cost as much
    assert json.loads(captured.out)["calibration-after"]["samples"] == one_batch
    images, measuring = captured.err.splitlines()
    assert images.startswith("images: L, 8 x 8 px, bilinear, mean 0.3, std 0.4 (model/config.json)")
    assert measuring == "measuring calibration ... (1 of 1)"
    assert main([*command, "0"]) == 2
    assert "--seconds: no time; expected above 0" in capsys.readouterr().err


def test_what_is_left_out_is_said(tmp_path, capsys, pair, monkeypatch):
    def refuse(*arguments, **settings):
        raise ModelError("cannot be measured", where="conv")

    monkeypatch.setitem(WEIGHT_MEASURES, "relations", refuse)
    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    assert main(["analyze", *sides, "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.endswith("relations left out: conv: cannot be measured\n")
    assert json.loads((tmp_path / "out/pair.json").read_text())["left_out"] == {"relations": "conv: cannot be measured"}


_STOPPED = """
import os, signal, sys
from refconv.analysis.registry import WEIGHT_MEASURES
from refconv.cli import main
WEIGHT_MEASURES["movement"] = lambda *a, **k: os.kill(os.getpid(), signal.SIGTERM)
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_measures_are_kept_at_a_signal_and_the_same_command_goes_on(tmp_path, capsys, pair):
    out = tmp_path / "out"
    command = ["analyze", "--before", str(tmp_path / "before"), "--after", str(tmp_path / "after"), "--out", str(out)]
    command += ["--only", "redundancy", "--only", "skeleton", "--only", "movement", "--device", "cpu"]
    ended = run_script(_STOPPED, *command)
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGTERM, "")
    assert ended.stderr.splitlines()[-1] == (
        f"refconv: {out}: stopped; 2 of 3 measures are finished and kept; the same command goes on with the rest"
    )
    assert main(["report", str(out), "-o", str(tmp_path / "page.html")]) == 0
    assert "not taken yet: the analysis has not finished" in (tmp_path / "page.html").read_text(encoding="utf-8")
    kept = (out / "redundancy.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main(command) == 0
    shown = capsys.readouterr()
    assert shown.err.splitlines() == [
        "2 of 3 measures are there already, of the same weights, data and settings; --again takes them anew",
        "measuring movement ... (1 of 1)",
    ]
    assert re.findall(r"^(\w+)$", shown.out, re.MULTILINE) == ["redundancy", "skeleton", "movement"]
    assert (out / "redundancy.json").stat().st_mtime_ns == kept
    assert main([*command, "--again", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)) == ["redundancy", "skeleton", "movement", "verdicts"]
    assert (out / "redundancy.json").stat().st_mtime_ns > kept


def test_again_without_a_folder_is_refused(tmp_path, capsys, pair):
    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    assert main(["analyze", *sides, "--again"]) == 2
    assert "--again: has no effect; only a folder given by --out has measures already" in capsys.readouterr().err


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
    assert written == {*WEIGHT_MEASURES, *DATA_MEASURES, "pair"}


def test_what_data_cannot_measure_is_said(tmp_path, capsys, pair):
    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after")]
    assert main(["analyze", *sides, "--only", "attacks"]) == 2
    assert "--only: no such measure; expected redundancy" in (said := capsys.readouterr().err)
    assert "give --data" in said
    config = tmp_path / "after/model/config.json"
    content, _ = split_digest(json.loads(config.read_text()))
    config.write_text(json.dumps({"task": "restoration", **content}))
    assert main(["analyze", *sides, "--data", "digits"]) == 2
    said = capsys.readouterr().err
    assert "--data: the models are for different tasks; expected restoration, found classification" in said
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


def write_stimuli(folder, names):
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(folder / name)
    return folder


@pytest.mark.parametrize("grouped", [False, True])
def test_shape_and_texture_of_images_in_a_folder(tmp_path, capsys, pair, grouped):
    cues = [(a, b) for a in range(10) for b in range(10)]
    if grouped:
        names = [f"{'even' if a % 2 == 0 else 'odd'}{a}-{'even' if b % 2 == 0 else 'odd'}{b}.png" for a, b in cues]
        groups = [index % 2 for index in range(10)]
        targets = torch.tensor([[a % 2, b % 2] for a, b in cues])
    else:
        names, groups, targets = [f"{a}/{a}-{b}.png" for a, b in cues], None, torch.tensor(cues)
    folder = write_stimuli(tmp_path / "stimuli", names)
    if grouped:
        (folder / "classes.csv").write_text("\n".join(f"{n},{'odd' if n % 2 else 'even'}" for n in range(10)))
    order = sorted(range(len(names)), key=lambda index: str(folder / names[index]))
    pixels = np.stack([np.asarray(Image.open(folder / names[index])) for index in order]) / 255
    batch = ((torch.tensor(pixels).float()[:, None] - 0.3) / 0.4, targets[order])
    expected = analysis.cue_conflict(*pair, [batch], groups=groups)

    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after"), "--device", "cpu"]
    asked = ["--cue-conflict", str(folder), "--only", "cues", "--json", "--out", str(tmp_path / "out")]
    assert main(["analyze", *sides, *asked]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["cues"] == expected.to_dict()
    assert found["verdicts"]["cues"]["findings"]
    assert expected.samples == (50 if grouped else 90)
    assert main(["report", str(tmp_path / "out"), "-o", str(tmp_path / "page.html")]) == 0
    assert 'id="cues"' in (tmp_path / "page.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("names", "asked", "message"),
    [
        (["1-2.png"], ["--only", "cues"], "--only: needs images of two cues; found cues; give --cue-conflict"),
        ([], ["--cue-conflict", "FOLDER"], "no images in this folder; expected images SHAPE-TEXTURE.png"),
        (["1.png"], ["--cue-conflict", "FOLDER"], "1.png: a name that does not say shape and texture"),
        (
            ["1-bear.png"],
            ["--cue-conflict", "FOLDER"],
            "not known; expected 0, 1, 2, .*found bear; say in .*classes.csv",
        ),
    ],
)
def test_folders_without_shape_and_texture_are_refused(tmp_path, capsys, pair, names, asked, message):
    folder = write_stimuli(tmp_path / "stimuli", names)
    sides = ["--before", str(tmp_path / "before"), "--after", str(tmp_path / "after"), "--device", "cpu"]
    assert main(["analyze", *sides, *(str(folder) if one == "FOLDER" else one for one in asked)]) == 2
    assert re.search(message, capsys.readouterr().err)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
def test_image_folders_whose_names_are_not_utf_8_are_analysed_and_records_are_utf_8(tmp_path, capfdbinary):
    name = os.fsdecode(b"caf\xe9")
    drawn = np.random.default_rng(0)
    for folder in (f"train/{name}", "train/b", f"val/{name}", "val/b"):
        (tmp_path / name / folder).mkdir(parents=True)
        for index in range(4):
            image = Image.fromarray(drawn.integers(0, 256, (8, 8, 3), dtype=np.uint8))
            image.save(tmp_path / name / folder / f"{index}{name}.png")
    weights, model = tmp_path / "w.pth", str(tmp_path / "model")
    torch.save(timm.create_model("test_resnet", num_classes=2).state_dict(), weights)
    assert main(["adopt", str(weights), "--model", "test_resnet", "--img-size", "32", "--out", model]) == 0
    command = ["analyze", "--before", model, "--after", model, "--only", "agreement", "--seconds", "2"]
    command += ["--data", f"folder:{tmp_path / name}"]
    assert main([*command, "--out", str(tmp_path / name / "pair")]) == 0
    facts = json.loads((tmp_path / name / "pair/pair.json").read_bytes().decode())
    assert r"caf\xe9" in json.dumps(facts).replace("\\\\", "\\")
    capfdbinary.readouterr()
    assert main([*command, "--json"]) == 0
    json.loads(capfdbinary.readouterr().out.decode())
