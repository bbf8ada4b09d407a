"""Evaluation: the numbers, whoever shares the work, and the model left as it was."""

import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchmetrics.functional import classification as theirs

from refconv.data import open_data
from refconv.errors import ModelError
from refconv.models.networks import mobilenet_small
from refconv.process.distributed import Processes
from refconv.tasks.classification.task import evaluate
from refconv.tasks.evaluation import emulated_bf16

CPU = torch.device("cpu")


class Boxes:
    """Outputs of a kind that only their maker knows."""


class Boxed(nn.Module):
    def forward(self, samples):
        return Boxes()


@pytest.fixture(scope="module")
def digits():
    return open_data("digits", val_split=0.1)


def test_accuracy_and_loss_are_those_of_the_definition(digits):
    model = mobilenet_small(width=0.25)
    result = evaluate(model, digits, "test", batch_size=100)
    samples, labels = (torch.cat(parts) for parts in zip(*digits.eval_batches("test", batch_size=400), strict=True))
    outputs = model.eval()(samples).detach().double().numpy()
    ranks = (outputs > outputs[np.arange(len(labels)), labels.numpy()][:, None]).sum(1)
    log_sum = np.log(np.exp(outputs).sum(1))
    assert result.samples == 359
    assert result.top1 == pytest.approx((ranks == 0).mean())
    assert result.top5 == pytest.approx((ranks < 5).mean())
    assert result.loss == pytest.approx((log_sum - outputs[np.arange(len(labels)), labels.numpy()]).mean(), rel=1e-5)


def test_calibration_error_is_that_of_the_definition(digits):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    model[1].weight.data *= 4  # confidences in many bins
    samples, labels = (torch.cat(parts) for parts in zip(*digits.eval_batches("test", batch_size=400), strict=True))
    confidence, classes = (value.numpy() for value in model(samples).detach().softmax(1).max(1))
    edges = np.linspace(0, 1, 16)
    error, filled = 0.0, 0
    for low, high in itertools.pairwise(edges):
        inside = (confidence > low) & (confidence <= high)
        if inside.any():
            filled += 1
            hits = (classes == labels.numpy())[inside]
            error += inside.mean() * abs(hits.mean() - confidence[inside].astype(float).mean())
    assert filled > 8
    assert evaluate(model, digits, "test", batch_size=64).ece == pytest.approx(error, rel=1e-5)


def test_measures_are_those_of_torchmetrics(digits):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12))  # more classes than the data has, as after pretraining
    model[1].weight.data *= 4
    found = evaluate(model, digits, "test", batch_size=50)
    samples, labels = (torch.cat(parts) for parts in zip(*digits.eval_batches("test", batch_size=400), strict=True))
    outputs = model(samples).detach()

    def accuracy(first, average="micro"):
        return float(theirs.multiclass_accuracy(outputs, labels, 12, average=average, top_k=first))

    def error(bins, norm="l1"):
        return float(theirs.multiclass_calibration_error(outputs.softmax(1), labels, 12, n_bins=bins, norm=norm))

    assert found.top1 == pytest.approx(accuracy(1), abs=1e-6)
    assert found.top5 == pytest.approx(accuracy(5), abs=1e-6)
    assert found.ece == pytest.approx(error(15), abs=1e-6)
    assert found.loss == pytest.approx(float(F.cross_entropy(outputs, labels)), rel=1e-6)
    assert found.top1 != pytest.approx(accuracy(1, "macro"), abs=1e-4)  # the mean over classes is another
    assert found.ece != pytest.approx(error(10), abs=1e-4)  # as are other bins
    assert found.ece != pytest.approx(error(15, "max"), abs=1e-2)


def test_batch_size_does_not_matter(digits):
    model = mobilenet_small(width=0.25)
    one, other = (evaluate(model, digits, "val", batch_size=size) for size in (7, 1000))
    assert (one.top1, one.top5, one.samples) == (other.top1, other.top5, other.samples)
    assert one.loss == pytest.approx(other.loss, rel=1e-5)


class Recorded(Processes):
    """A process that keeps what it would send."""

    def sums(self, values):
        sent.append(values)
        return values


sent: list[list[float]] = []


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_share_every_sample_exactly_once(digits, world_size):
    model = mobilenet_small(width=0.25)
    alone = evaluate(model, digits, "test", batch_size=50)
    sent.clear()
    for rank in range(world_size):
        evaluate(model, digits, "test", batch_size=50, processes=Recorded(rank, world_size, CPU))
    top1, top5, loss, count, *gaps = (sum(values) for values in zip(*sent, strict=True))
    assert sum(map(abs, gaps)) / count == pytest.approx(alone.ece, rel=1e-5)
    assert (top1, top5, count) == (alone.top1 * 359, pytest.approx(alone.top5 * 359), 359)
    assert loss / count == pytest.approx(alone.loss, rel=1e-5)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(digits, training):
    model = mobilenet_small(width=0.25).train(training)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    evaluate(model, digits, "val")
    assert model.training is training
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_bf16_and_channels_last_change_little(digits):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))
    plain, other = (evaluate(model, digits, "val", amp=on, channels_last=on) for on in (False, True))
    assert other.loss == pytest.approx(plain.loss, rel=0.02)
    assert other.loss != plain.loss


def test_fewer_than_five_classes_make_top5_certain(digits):
    two = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    assert 0 < evaluate(two, digits, "val").top5 <= 1


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 9)), r"does not fit .*expected \[144, 10\], found \[144, 9\]"),
        (nn.Conv2d(1, 10, 3), r"does not fit the classes .*found \[144, 10, 6, 6\]; let its forward return"),
        (Boxed(), "does not fit the classes .*found Boxes; let its forward return the logits alone"),
        (nn.Conv2d(3, 10, 3), r"Conv2d: the model does not take this data; expected samples of shape \[1, 8, 8\]"),
    ],
    ids=["classes", "no classifier", "object", "channels"],
)  # fmt: skip
def test_a_model_that_does_not_fit_is_refused(model, words, digits):
    with pytest.raises(ModelError, match=words):
        evaluate(model, digits, "val")


def test_an_evaluation_prints_as_one_line(digits):
    line = str(evaluate(mobilenet_small(width=0.25), digits, "val"))
    assert "top-1" in line
    assert "144 samples" in line


@pytest.mark.parametrize(
    ("device", "native", "said"),
    [("cpu", False, "warning: amp: this cpu emulates bf16"), ("cpu", True, ""), ("mps", False, "")],
)
def test_emulated_bf16_is_said(monkeypatch, device, native, said):
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: True)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: native, raising=False)
    assert (emulated_bf16(torch.device(device), True) or "").startswith(said)
    assert emulated_bf16(torch.device(device), False) is None


@pytest.mark.parametrize("native", [False, True])
def test_old_gpus_emulate_bf16(monkeypatch, native):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: native or including_emulation)
    assert (emulated_bf16(torch.device("cuda"), True) is None) == native
