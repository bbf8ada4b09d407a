"""The default scale on whole networks: kernels move no faster than in plain training, under SGD and under AdamW."""

import copy
import statistics

import pytest
import timm
import torch
from torch import nn

import refconv
from refconv.layers import find_layers, select

STEPS = 5
SIDE = 64  # of the images; less leaves deep layers a single pixel
OPTIMIZERS = {"sgd": (torch.optim.SGD, 0.01), "adamw": (torch.optim.AdamW, 1e-3)}
# depthwise layers of 3 x 3, 5 x 5 and 7 x 7, grouped and dense ones
NETWORKS = [
    "test_convnext", "mobilenetv3_small_050", "test_resnet", "test_mambaout", "test_efficientnet", "test_nfnet",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("mobilenetv2_035", "lcnet_035")),  # as mobilenetv3
]  # fmt: skip


def network(name):
    """A network whose residual branches and layer scales let gradients through."""
    model = timm.create_model(name, num_classes=10)
    for name_, parameter in model.named_parameters():
        if name_.endswith(("gamma", "gain")) or (parameter.ndim == 1 and name_.endswith("weight")):
            nn.init.ones_(parameter)
    return model.train()


def kernels(model, layers):
    return {layer: model.get_submodule(layer).weight.detach().clone() for layer in layers}


def trained(model, layers, kind, batch, labels):
    """Return the kernels at the start, after the first step and after the last."""
    make, lr = OPTIMIZERS[kind]
    optimizer = make([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0)
    found = [kernels(model, layers)]
    for number in range(1, STEPS + 1):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), labels).backward()
        optimizer.step()
        if number in (1, STEPS):
            found.append(kernels(model, layers))
    return found


def test_the_papers_scale_moves_depthwise_kernels_far_faster():
    torch.manual_seed(0)
    moved = []
    for scale in ("paper", "capped"):
        model = nn.Conv2d(64, 64, 3, groups=64)
        refconv.refocus(model, scale=scale)
        optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-3)
        model(torch.randn(2, 64, 8, 8)).square().mean().backward()
        base = model.weight.detach().clone()
        optimizer.step()
        moved.append(float((model.weight.detach() - base).square().mean().sqrt()))
    assert moved[0] > 10e-3
    assert moved[1] < 1.5e-3


@pytest.mark.parametrize("name", NETWORKS)
def test_kernels_move_no_faster_than_in_plain_training(name):
    """In the median over layers, over five steps; under SGD the first step moves no layer at all farther."""
    plain = network(name)
    layers = [choice.layer.name for choice in select(find_layers(plain)) if choice.skipped is None]
    batch, labels = torch.randn(2, 3, SIDE, SIDE), torch.arange(2)
    refocused = copy.deepcopy(plain)
    refconv.refocus(refocused)
    for kind in OPTIMIZERS:
        start, *expected = trained(copy.deepcopy(plain), layers, kind, batch, labels)
        _, *found = trained(copy.deepcopy(refocused), layers, kind, batch, labels)
        ratios = [
            [float((after[layer] - start[layer]).norm() / (before[layer] - start[layer]).norm()) for layer in layers]
            for before, after in zip(expected, found, strict=True)
        ]
        assert all(statistics.median(step) < 1.5 for step in ratios)
        if kind == "sgd":
            assert max(ratios[0]) < 1.01  # rounding: kernels move by 1e-5 of their size and more, and float32 has 6e-8
