"""metrics.jsonl: one line each, and no step twice."""

import json

import pytest

from refconv.engine.metrics import Metrics, NoMetrics
from refconv.errors import RunError
from refconv.models.run_folder import RunFolder
from run_results import read_metrics


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def test_lines_are_json_objects_of_their_numbers(folder):
    with Metrics(folder) as metrics:
        metrics.write("train", step=10, epoch=0.123456, loss=1.5, lr=0.1)
        metrics.write("val", step=10, epoch=1, top1=float("nan"))
    assert [json.loads(line) for line in folder.metrics_file.read_text().splitlines()] == [
        {"kind": "train", "step": 10, "epoch": 0.1235, "loss": 1.5, "lr": 0.1},
        {"kind": "val", "step": 10, "epoch": 1, "top1": None},
    ]
    assert read_metrics(folder.metrics_file, "val") == [{"kind": "val", "step": 10, "epoch": 1, "top1": None}]


def test_resuming_cuts_what_the_checkpoint_does_not_know(folder):
    with Metrics(folder) as metrics:
        metrics.write("train", step=1, epoch=0, loss=1.0)
        length = metrics.saved_length()
        metrics.write("train", step=2, epoch=0, loss=2.0)
    with folder.metrics_file.open("a") as file:
        file.write('{"kind": "tra')
    with Metrics(folder, length=length) as metrics:
        metrics.write("train", step=2, epoch=0, loss=3.0)
    assert [(row["step"], row["loss"]) for row in read_metrics(folder.metrics_file)] == [(1, 1.0), (2, 3.0)]


def test_a_line_cut_short_is_left_out_in_reading(folder):
    folder.metrics_file.write_text('{"kind": "train", "step": 1}\n{"kind": "tr')
    assert read_metrics(folder.metrics_file) == [{"kind": "train", "step": 1}]


def test_each_line_is_there_at_once(folder):
    with Metrics(folder) as metrics:
        metrics.write("train", step=1, epoch=0, loss=1.0)
        assert len(read_metrics(folder.metrics_file)) == 1


def test_a_full_disk_is_said_in_one_line(folder, monkeypatch):
    metrics = Metrics(folder)
    metrics._file.close()
    metrics._file = open("/dev/full", "w")  # noqa: PTH123, SIM115 (a device that is always full)
    with pytest.raises(RunError, match=r"metrics\.jsonl: cannot write; found No space left on device"):
        metrics.write("train", step=1, epoch=0, loss=1.0)
    with pytest.raises(OSError, match="No space left"):
        metrics._file.close()


def test_processes_that_do_not_write_write_nothing():
    metrics = NoMetrics()
    assert metrics.write("train", step=1, epoch=0, loss=1.0) is None
    assert metrics.saved_length() == 0
