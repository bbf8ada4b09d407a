"""Norm fold: equal to the folded convolution in values, gradients and steps; statistics stay."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from refconv.errors import ModelError
from refconv.methods.registry import keep_statistics
from refconv.models.networks import mobilenet_small
from refconv.surgery import verify


def conv_and_norm(groups):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 8, 3, groups=groups), nn.BatchNorm2d(8)).double()
    norm = model[1]
    with torch.no_grad():
        for tensor in (norm.weight, norm.bias, norm.running_mean):
            tensor.normal_()
        norm.running_var.uniform_(0.1, 3)
    return model


def folded(batch, w, b, g, h, norm):
    """The formula of the paper's Tune mode."""
    scale = g / (norm.running_var + norm.eps).sqrt()
    return F.conv2d(batch, w * scale[:, None, None, None], (b - norm.running_mean) * scale + h, groups=4 // w.shape[1])


@pytest.mark.parametrize("groups", [1, 4])
def test_steps_are_those_of_training_through_the_folded_weight(groups):
    """Tune mode with SGD and momentum, step for step; training through the statistics of the batch differs."""
    model = conv_and_norm(groups)
    batchwise, norm = copy.deepcopy(model), model[1]
    assert keep_statistics(model) == ("1",)
    leaves = [value.detach().clone().requires_grad_() for value in (*model[0].parameters(), *norm.parameters())]
    optimizers = [
        torch.optim.SGD(p, lr=0.1, momentum=0.9) for p in (model.parameters(), leaves, batchwise.parameters())
    ]
    model.train()
    for _ in range(5):
        batch = torch.randn(6, 4, 7, 7).double()
        outputs = [model(batch), folded(batch, *leaves, norm), batchwise(batch)]
        torch.testing.assert_close(outputs[0], outputs[1])
        for output, optimizer in zip(outputs, optimizers, strict=True):
            optimizer.zero_grad()
            output.sin().square().mean().backward()
            optimizer.step()
    for own, leaf, other in zip(model.parameters(), leaves, batchwise.parameters(), strict=True):
        torch.testing.assert_close(own, leaf)
        assert not torch.allclose(own, other)


def test_statistics_stay_while_everything_else_trains():
    torch.manual_seed(0)
    model = mobilenet_small(width=0.25)
    before = copy.deepcopy(model)
    names = keep_statistics(model)
    assert len(names) == 9
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    statistics = dict(before.named_buffers())
    for network in (model, copy.deepcopy(model)):  # hooks are copied too
        network.train()
        network(torch.randn(4, 1, 8, 8)).square().sum().backward()
        assert all(torch.equal(value, statistics[name]) for name, value in network.named_buffers())
    optimizer.step()
    for name, value in model.named_parameters():
        assert not torch.equal(value, before.get_parameter(name)), name
    assert verify(before, model).same_structure
    assert model.training
    assert model.blocks[0].training


def test_it_compiles_without_graph_break():
    torch.compiler.reset()
    model = conv_and_norm(1).float()
    keep_statistics(model)
    batch = torch.randn(2, 4, 7, 7)
    expected = model.eval()(batch)
    model.train()
    model.compile(fullgraph=True, backend="eager")
    for _ in range(2):
        torch.testing.assert_close(model(batch), expected)
    assert model[1].num_batches_tracked == 0


def test_models_without_running_statistics_are_refused():
    with pytest.raises(ModelError, match="Conv2d: no batch norm whose statistics could be kept; use another method"):
        keep_statistics(nn.Conv2d(2, 2, 3))
    model = nn.Sequential(nn.BatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False))
    with pytest.raises(ModelError, match="1: the batch norm has no running statistics"):
        keep_statistics(model)
    assert not model[0]._forward_pre_hooks
