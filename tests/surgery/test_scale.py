"""The default scale on whole networks: kernels move no faster than in plain training, under SGD and under AdamW."""

import copy
import statistics

import pytest
import timm
import torch
from torch import nn

import refconv
from refconv.sites import find_sites, select
from refconv.surgery import plain_state_dict

STEPS = 5
OPTIMIZERS = {"sgd": (torch.optim.SGD, 0.01), "adamw": (torch.optim.AdamW, 1e-3)}
# depthwise, grouped and dense layers, and depthwise ones of 5 x 5 and 7 x 7
NETWORKS = [
    "test_convnext", "mobilenetv3_small_050", "mobilenetv2_035", "resnet10t", "regnetx_002", "convnext_atto",
    "test_efficientnet", "resnext26ts",
]  # fmt: skip


def network(name):
    """A network whose residual branches and layer scales let gradients through."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10)
    for name_, parameter in model.named_parameters():
        if parameter.ndim == 1 and name_.endswith((".gamma", ".weight")):
            nn.init.ones_(parameter)
    return model


def sites(model):
    return [choice.site for choice in select(find_sites(model)) if choice.skipped is None]


def trained(model, make, batch, labels):
    """Return the plain states after the first step and after the last."""
    optimizer = make(model)
    states = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(batch), labels).backward()
        optimizer.step()
        states.append({key: value.clone() for key, value in plain_state_dict(model).items()})
    return states


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
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_kernels_move_no_faster_than_in_plain_training(name, kind):
    make, lr = OPTIMIZERS[kind]
    plain = network(name).train()
    start = {site.name: site.weight.detach().clone() for site in sites(plain)}
    batch, labels = torch.randn(4, 3, 64, 64), torch.arange(4)  # smaller ones leave deep layers a single pixel

    def optimizer(model):
        return make([p for p in model.parameters() if p.requires_grad], lr=lr, weight_decay=0)

    refocused = copy.deepcopy(plain)
    refconv.refocus(refocused)
    expected, found = trained(plain, optimizer, batch, labels), trained(refocused, optimizer, batch, labels)
    for before, after in zip(expected, found, strict=True):
        ratios = [
            float((after[f"{site}.weight"] - base).norm() / (before[f"{site}.weight"] - base).norm())
            for site, base in start.items()
        ]
        assert statistics.median(ratios) < 1.5
