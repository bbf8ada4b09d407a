"""Eight bits: calibrated on training images, per channel, with the accuracy before and after."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from exported_networks import Small, lively, opened
from image_folders import two_classes
from refconv.data import open_data
from refconv.data.preprocessing import Statement
from refconv.errors import DataError
from refconv.exporting import Accuracy, ExportConfig
from refconv.exporting.exporting import export_opened
from refconv.exporting.inputs import Evidence
from refconv.exporting.quantising import _paired
from refconv.measures.judging import paired_difference
from refconv.models.exported import open_runtime
from refconv.models.networks import resnet_small
from refconv.tasks.classification.task import evaluate

DIGITS = {"input_size": [1, 8, 8], "mean": [0.3], "std": [0.4]}


@pytest.fixture(scope="module")
def trained():
    """A small network that knows most of the digits, after a few steps, and the data."""
    data = open_data("digits", mean=(0.3,), std=(0.4,))
    torch.manual_seed(0)
    model = resnet_small(channels=[8]).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for epoch in range(4):
        for samples, labels in data.train_batches(seed=0, epoch=epoch, batch_size=128):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(samples), labels).backward()
            optimizer.step()
    return model.eval(), data


@pytest.mark.parametrize("inside", [False, True], ids=["prepared outside", "preprocessing inside"])
def test_int8_is_per_channel_and_says_what_it_costs(tmp_path, trained, inside):
    model, data = trained
    config = ExportConfig(int8=True, calibration=100, with_preprocessing=inside)
    as_trained = replace(opened(model, **DIGITS), stated=Statement("its run", DIGITS, of_run=True))
    record = export_opened(as_trained, tmp_path / "a.onnx", config, Evidence("digits"), builds=False)
    accuracy = record.accuracy
    assert accuracy.calibrated_on == "100 random training images of digits"
    assert accuracy.before == pytest.approx(evaluate(model, data).top1, abs=0.01)
    assert accuracy.before > 0.5
    assert record.holds
    assert accuracy.samples == data.info.test_size
    assert accuracy.low <= accuracy.after - accuracy.before <= accuracy.high
    assert accuracy.low < accuracy.high
    assert record.precision == "int8"
    graph = onnx.load(tmp_path / "a.onnx").graph
    weights = [onnx.numpy_helper.to_array(entry) for entry in graph.initializer]
    kernels = [weight for weight in weights if weight.ndim == 4 and weight.dtype == np.int8]
    assert len(kernels) == sum(isinstance(module, torch.nn.Conv2d) for module in model.modules())
    scales = [weight.shape for weight in weights if weight.ndim == 1 and weight.dtype == np.float32]
    assert all((len(kernel),) in scales for kernel in kernels)  # one for each output channel
    said = open_runtime(tmp_path / "a.onnx").metadata
    assert json.loads(said["preprocessing"])["mean"] == [0.3]


def test_the_interval_is_that_of_paired_shares():
    """Of ten samples, six are right in both files, three only before, one only after."""
    labels = torch.zeros(10, dtype=torch.long)
    wrong = {"before": [9], "after": [6, 7, 8]}
    data = SimpleNamespace(info=None, eval_batches=lambda split, batch_size: [(torch.zeros(10, 1), labels)])

    def outputs(model, samples, info):
        found = torch.tensor([[1.0, 0.0]]).repeat(10, 1)
        found[wrong[model]] = torch.tensor([0.0, 1.0])
        return found

    task = SimpleNamespace(outputs=outputs, primary="top1")
    found, wanted = _paired(task, ["before", "after"], data, "nothing"), paired_difference(6, 1, 3, 0)
    assert (found.before, found.after, found.samples) == (0.9, 0.7, 10)
    assert (found.low, found.high) == (wanted.low, wanted.high)
    assert "90.00% in float32, 70.00% in int8, -20.00 points (" in found.said("classification")


def test_a_loss_of_more_than_two_points_fails():
    kept, lost = (Accuracy("top1", 0.8, after, 100, "nothing") for after in (0.785, 0.775))
    assert (kept.kept, lost.kept) == (True, False)
    decibels = Accuracy("psnr", 30.0, 29.5, 100, "nothing")
    assert decibels.kept


def test_data_without_training_images_are_refused(tmp_path):
    two_classes(tmp_path, (16, 12))
    shutil.rmtree(tmp_path / "train")
    model, config = opened(lively(Small(2)), input_size=[3, 12, 16]), ExportConfig(int8=True)
    evidence = Evidence(f"folder:{tmp_path}")
    with pytest.raises(DataError, match="no training images to calibrate on; give data with a split train"):
        export_opened(model, tmp_path / "a.onnx", config, evidence, builds=False)
    assert not (tmp_path / "a.onnx").exists()
