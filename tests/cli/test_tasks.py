"""Every task through every command: train, eval, predict, merge, verify; the same words for all of them."""

import json

import pytest

from refconv.cli import main
from refconv.engine.run_record import PRIMARY, RunRecord
from refconv.report import read_pair

SETTINGS = ("--epochs", "1", "--batch-size", "4", "--lr", "0.01", "--workers", "0", "--device", "cpu")
SAID = {"detection": "objects", "segmentation": "classes", "restoration": "width"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    sizes = ("--train", "8", "--val", "2", "--test", "3", "--size", "64", "--source", "digits")
    assert main(["data", "scenes", "--out", str(folder), *sizes]) == 0
    return folder


def task_flags(task, scenes):
    """Return what names model and data of a task."""
    own = {
        "detection": ("detector:ssdlite", "--backbone", "test_resnet", "--img-size", "64", "--data", "scenes"),
        "segmentation": ("smp:FPN", "--backbone", "test_resnet", "--img-size", "64", "--data", "scenes"),
        "restoration": ("refconv.models.restorers:dncnn_small", "--model-kwargs", "width=4", "--model-kwargs",
                        "depth=2", "--noise", "25", "--patch-size", "16", "--data", f"images:{scenes / 'images'}"),
    }[task]  # fmt: skip
    folder = () if task == "restoration" else ("--data-dir", str(scenes))
    return ["--task", task, "--model", *own, *folder]


@pytest.mark.parametrize("task", SAID)
def test_every_command_knows_every_task(tmp_path, capsys, scenes, task):
    plain, refocused, merged = (str(tmp_path / name) for name in ("plain", "refocused", "merged"))
    flags = [*task_flags(task, scenes), *SETTINGS]
    assert main(["train", *flags, "--out", plain]) == 0
    again = ["--checkpoint", plain, "--method", "refocus", "--space", "kernel", "--start", "kaiming"]
    assert main(["train", *flags, *again, "--out", refocused]) == 0
    record = RunRecord.read(f"{refocused}/record.json")
    assert (record.task, record.test_samples) == (task, 3)
    assert record.certificate.same_structure
    assert record.certificate.same_outputs
    assert record.extra_parameters > 0
    capsys.readouterr()

    assert main(["eval", refocused, "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["samples"] == 3
    if record.measure(PRIMARY[task]) is not None:
        assert found[PRIMARY[task]] == pytest.approx(record.measure(PRIMARY[task]), rel=1e-4, abs=1e-6)

    assert main(["merge", refocused, "-o", merged]) == 0
    assert "outputs    identical" in capsys.readouterr().out
    assert json.loads((tmp_path / "merged/config.json").read_text())["task"] == task
    assert main(["verify", refocused, merged]) == 0
    assert "structure  the same" in capsys.readouterr().out
    assert main(["verify", plain, refocused]) == 0
    assert "largest difference 0," not in capsys.readouterr().out

    images = str(scenes / "images/test")
    assert main(["predict", merged, images, "--device", "cpu", "--out", str(tmp_path / "out"), "--json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 3
    assert all(SAID[task] in line for line in lines)
    assert len(list((tmp_path / "out").glob("test_*[0-9].png"))) == 3

    asked = ["--only", "movement", "--only", "scores", "--device", "cpu", "-o", str(tmp_path / "report.html")]
    assert main(["report", refocused, *asked]) == 0
    scores = read_pair(tmp_path / "refocused/analysis").record("scores-after")
    assert scores.samples == 3
    if record.measure(PRIMARY[task]) is not None:
        assert scores.measures[PRIMARY[task]] == pytest.approx(record.measure(PRIMARY[task]), rel=1e-4, abs=1e-6)
    assert 'id="scores"' in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_model_of_one_task_is_not_taken_for_another(tmp_path, capsys, scenes):
    run = str(tmp_path / "run")
    assert main(["train", *task_flags("restoration", scenes), *SETTINGS, "--out", run]) == 0
    capsys.readouterr()
    assert main(["eval", run, "--task", "detection", "--device", "cpu"]) == 2
    assert "the model was trained for another task; expected restoration, found detection" in capsys.readouterr().err


def test_plan_takes_a_backbone(capsys):
    assert main(["plan", "--model", "detector:fcos", "--backbone", "test_resnet", "--num-classes", "3"]) == 0
    assert "kernels of FCOS are refocused" in capsys.readouterr().out
