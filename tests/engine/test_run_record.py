"""Records of runs: to JSON and back, with the circumstances."""

import sys

import torch

from refconv.engine.run_record import RunRecord, ValidationPoint, command, hardware, versions
from refconv.models.networks import mobilenet_small
from refconv.surgery import verify


def record(**changes):
    points = (ValidationPoint(10, 1, 0.9, 1.0, 0.3), ValidationPoint(20, 2, 0.8, 1.0, 0.4))
    values = {
        "model": "test_resnet", "data": "digits", "method": "plain", "seed": 0, "top1": 0.5, "top5": 0.9, "loss": 1.0,
        "test_samples": 359, "train_loss": 0.1, "validation": points, "epochs": 2, "steps": 20, "batch_size": 64,
        "samples_seen": 1280, "parameters_trained": 10, "parameters_shipped": 10, "extra_parameters": 0, "sites": 0,
        "seconds": 1.5, "step_ms": 2.5, "processes": 1, "hardware": "x", "versions": versions(), "command": "c",
        "certificate": verify(mobilenet_small(width=0.25), mobilenet_small(width=0.25), torch.zeros(2, 1, 8, 8)),
    }  # fmt: skip
    return RunRecord(**{**values, **changes})


def test_a_record_comes_back_from_json_the_same():
    written = record()
    assert RunRecord.from_json(written.to_json()) == written


def test_best_and_last_validation_are_told_apart():
    assert record().val_best.epoch == 1
    assert record().val_last.epoch == 2
    assert record(validation=()).val_best is None
    assert record(validation=()).val_last is None


def test_a_record_prints_as_one_line():
    assert "top-1 50.00%" in str(record())
    assert "not tested" in str(record(top1=None))


def test_versions_hardware_and_command_are_named(monkeypatch):
    assert {"python", "refconv", "torch", "timm"} <= versions().keys()
    assert f", {torch.get_num_threads()} thread" in hardware(torch.device("cpu"))
    assert f"2 x {torch.get_num_threads()} threads" in hardware(torch.device("cpu"), 2)
    monkeypatch.setattr(sys, "argv", ["/some/where/refconv", "train", "--model", "a b"])
    assert command() == "refconv train --model 'a b'"
