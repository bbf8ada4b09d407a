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
    """Kernels of the size and the smoothness of trained ones; no normalization or layer scale holds gradients back."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=10)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    for name_, parameter in model.named_parameters():
        if name_.endswith((".gamma", "layer_scale")):
            nn.init.ones_(parameter)
    for site in sites(model):
        if site.kind == "depthwise":
            with torch.no_grad():
                site.weight.add_(0.3 * torch.randn(len(site.weight), *[1] * (site.weight.ndim - 1)))
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


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_kernels_move_no_faster_than_in_plain_training(name, kind):
    make, lr = OPTIMIZERS[kind]
    plain = network(name).train()
    start = {site.name: site.weight.detach().clone() for site in sites(plain)}
    batch, labels = torch.randn(4, 3, 64, 64), torch.arange(4)

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
        print(name, kind, statistics.median(ratios), max(ratios))
