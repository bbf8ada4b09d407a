"""A pruned network stays sparse under every method, also at kernels that the method does not change."""

import pytest
import torch
from torch import nn

from refconv.layers import find_layers
from refconv.methods.registry import method_of
from refconv.models.networks import mobilenet_small
from refconv.recipe.recipe import Recipe
from refconv.surgery import plain_state_dict


def pruned():
    torch.manual_seed(0)
    model = mobilenet_small(width=0.25)
    with torch.no_grad():
        for layer in find_layers(model):
            layer.weight.mul_(torch.rand_like(layer.weight) > 0.5)
    return model


def trained(**settings):
    model = pruned()
    method = method_of(Recipe(model="m", data="digits", weight_decay=0.01, **settings))
    method.prepare(model)
    model.load_state_dict(model.state_dict())  # as a resumed run does
    optimizer = method.optimizer(model)
    torch.manual_seed(1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randn(4, 1, 8, 8)).square().mean().backward()
        optimizer.step()
    return plain_state_dict(model)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "plain"},
        {"method": "plain", "opt": "adamw"},
        {"method": "refocus"},
        {"method": "refocus", "opt": "adamw"},
        {"method": "low_rank"},
        {"method": "norm_fold"},
    ],
    ids=str,
)
def test_zeros_stay_where_they_are_on_request_and_fill_otherwise(settings):
    kernels = {layer.key: layer.weight for layer in find_layers(pruned())}
    assert any(isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) for module in pruned().modules())
    state, filled = trained(zeros="keep", **settings), trained(**settings)
    for key, start in kernels.items():
        assert torch.equal(state[key] == 0, start == 0)
        assert not torch.equal(state[key], start)
        assert not torch.equal(filled[key] == 0, start == 0)
