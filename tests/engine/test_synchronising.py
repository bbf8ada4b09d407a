"""Batch norms over all processes: torch's classes while training, the model's own before and after."""

import copy

import pytest
import timm
import torch
from timm.layers import BatchNormAct2d, convert_sync_batchnorm
from torch import nn

from refconv.engine import synchronising
from refconv.engine.synchronising import separate_norms, synchronise_norms
from refconv.errors import RecipeError
from refconv.process.distributed import Processes
from refconv.surgery import verify

TWO = Processes(0, 2, torch.device("cuda", 0))


def networks():
    mixed = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.Sequential(nn.BatchNorm3d(2)))
    return [mixed, timm.create_model("test_resnet"), timm.create_model("test_efficientnet")]


@pytest.mark.parametrize("model", networks(), ids=["mixed", "resnet", "efficientnet"])
def test_the_classes_are_those_of_timms_conversion_and_are_put_back(model):
    before, converted = copy.deepcopy(model), convert_sync_batchnorm(copy.deepcopy(model))
    parameters = dict(model.named_parameters())
    classes = synchronise_norms(model, TWO)
    types = {name: type(part) for name, part in model.named_modules()}
    assert types == {name: type(part) for name, part in converted.named_modules()}
    assert all(value is parameters[name] for name, value in model.named_parameters())
    average = copy.deepcopy(model)
    for one in (model, average):
        separate_norms(one, classes)
        certificate = verify(before, one, None)
        assert certificate.same_structure, certificate
        assert (
            vars(one.get_submodule(next(iter(classes)))).keys()
            == vars(before.get_submodule(next(iter(classes)))).keys()
        )


def test_outputs_and_statistics_of_one_process_are_those_of_the_model_itself():
    model = timm.create_model("test_efficientnet", in_chans=1).double()
    other = copy.deepcopy(model)
    synchronise_norms(other, TWO)
    samples = torch.randn(4, 1, 32, 32, dtype=torch.float64)
    torch.manual_seed(0)
    expected = model(samples)
    torch.manual_seed(0)
    torch.testing.assert_close(other(samples), expected)
    torch.testing.assert_close(dict(other.named_buffers()), dict(model.named_buffers()))


def test_one_process_keeps_its_norms():
    model = timm.create_model("test_resnet")
    assert synchronise_norms(model, Processes(0, 1, torch.device("cpu"))) == {}
    assert not any(isinstance(part, nn.SyncBatchNorm) for part in model.modules())


def test_what_cannot_be_synchronised_is_said():
    with pytest.raises(RecipeError, match="sync_bn: Sequential has no batch norms to synchronise; leave it out"):
        synchronise_norms(nn.Sequential(nn.Conv2d(1, 2, 3)), TWO)
    with pytest.raises(RecipeError, match="synchronised on cpu and cuda only; found 2 processes on mps; leave it out"):
        synchronise_norms(networks()[0], Processes(0, 2, torch.device("mps")))


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm1d(3, momentum=None), (6, 3)),
        (nn.BatchNorm1d(3, affine=False), (6, 3, 5)),
        (nn.BatchNorm2d(3, track_running_stats=False), (6, 3, 4, 5)),
        (nn.BatchNorm3d(3, eps=0.1), (6, 3, 2, 4, 5)),
        (BatchNormAct2d(3), (6, 3, 4, 5)),
    ],
    ids=["mean of batches", "no affine", "no statistics", "3d", "timm"],
)
def test_norms_on_the_cpu_are_those_of_torch(norm, shape, monkeypatch):
    """Of one share, which is the whole; tests/faults/test_many_processes.py has several."""
    norm = norm.double()
    whole = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(shape, dtype=torch.float64)
    other = nn.Sequential(copy.deepcopy(norm))
    for _ in range(2):
        expected = norm(whole)
    (expected * weights).sum().backward()
    synchronise_norms(other, Processes(0, 3, torch.device("cpu")))
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(synchronising._Sum, "apply", lambda mine: mine)
    again = whole.detach().clone().requires_grad_()
    for _ in range(2):
        found = other(again)
    (found * weights).sum().backward()
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(again.grad, whole.grad)
    torch.testing.assert_close(dict(other[0].named_buffers()), dict(norm.named_buffers()))
    assert other.eval()(again).shape == shape
