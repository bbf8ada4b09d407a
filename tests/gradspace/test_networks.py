"""Whole networks of timm: both spaces end at the same weights, also over an interruption."""

import copy

import pytest
import timm
import torch
from torch import nn

import refconv

STEPS = 8


def network(name):
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5)
    return model.double().train()


def images():
    torch.manual_seed(1)
    return torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 1, 2, 3])


def train(model, optimizer, steps):
    inputs, labels = images()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(inputs), labels).backward()
        optimizer.step()


def kernel_space(name, settings, sgd):
    model = network(name)
    refconv.refocus(model, **settings)
    trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    bare = [p for _, p in trainable if p.ndim <= 1]
    decayed = [p for _, p in trainable if p.ndim > 1]
    groups = [{"params": bare, "weight_decay": 0.0}, {"params": decayed, "weight_decay": 0.01}]
    train(model, torch.optim.SGD(groups, **sgd), STEPS)
    refconv.merge(model)
    return model


def gradient_space(model, settings, sgd):
    return refconv.RefocusSGD(refconv.param_groups(model, weight_decay=0.01, **settings), **sgd)


def assert_same(found, expected):
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(
            found.state_dict()[name], value, rtol=1e-9, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}"
        )


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("test_convnext", {"scale": "normalized"}),
        ("test_resnet", {"scale": "normalized"}),
        ("test_efficientnet", {"order": "across"}),
    ],
)
def test_whole_network_trains_alike_in_both_spaces_and_resumes(name, settings):
    sgd = {"lr": 0.002, "momentum": 0.9, "nesterov": True}
    expected = kernel_space(name, settings, sgd)
    model = network(name)
    optimizer = gradient_space(model, settings, sgd)
    train(model, optimizer, STEPS // 2)
    weights, state = copy.deepcopy((model.state_dict(), optimizer.state_dict()))
    train(model, optimizer, STEPS - STEPS // 2)
    assert_same(model, expected)
    resumed = network(name)
    resumed.load_state_dict(weights)
    again = gradient_space(resumed, settings, sgd)
    again.load_state_dict(state)
    train(resumed, again, STEPS - STEPS // 2)
    assert all(torch.equal(resumed.state_dict()[key], value) for key, value in model.state_dict().items())
    unchanged = network(name).state_dict()
    moved = [
        key
        for key in optimizer.layers
        if not torch.equal(unchanged[f"{key}.weight"], model.state_dict()[f"{key}.weight"])
    ]
    assert moved == list(optimizer.layers)
