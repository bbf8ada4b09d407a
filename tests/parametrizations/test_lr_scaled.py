"""Learning rate scaled: plain training at the mean speed of refocusing."""

import copy

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind
from refconv.ops import gram, patches
from refconv.surgery import plain_state_dict, reparametrize
from refconv.surgery.refocusing import transform_of, transformed


def mean_eigenvalue(module, order="contiguous", map_size=(3, 3)):
    """Mean over all eigenvalues of all Grams of a layer, from the Grams themselves."""
    from refconv.layers import find_layers

    layer = find_layers(module)[0]
    blocks = layer.layout(order).to_blocks(module.weight.detach().double())
    return torch.linalg.eigvalsh(gram(patches(blocks, layer.kernel_size, map_size))).mean()


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("map_size", [1, 3, 5])
def test_factor_is_the_root_of_the_mean_eigenvalue_of_the_layers_grams(groups, map_size):
    torch.manual_seed(0)
    module = nn.Conv2d(8, 8, 3, groups=groups).double()
    expected = mean_eigenvalue(module, map_size=(map_size, map_size))
    across = mean_eigenvalue(module, "across", map_size=(map_size, map_size))
    torch.testing.assert_close(across, expected)  # so the order of slices matters to no scale but the capped one
    reparametrize(module, "lr_scaled", map_size=map_size, scale="paper")
    torch.testing.assert_close(transform_of(module).factor ** 2, expected)


def test_sgd_is_plain_sgd_with_one_rate_for_each_kernel():
    torch.manual_seed(0)
    plain = EveryKind().double()
    model = copy.deepcopy(plain)
    reparametrize(model, "lr_scaled")
    rates = {f"{name}.weight": 0.02 * float(transform.factor**2) for name, _, transform in transformed(model)}
    assert len(set(rates.values())) == 4
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.02, momentum=0.9)
    groups = [{"params": [value], "lr": rates.get(name, 0.02)} for name, value in plain.named_parameters()]
    ordinary = torch.optim.SGD(groups, momentum=0.9)
    for _ in range(20):
        batch = torch.randn(4, 3, 20, 20).double()
        for network, stepping in ((model, optimizer), (plain, ordinary)):
            stepping.zero_grad()
            network(batch).square().mean().backward()
            stepping.step()
    state, expected = plain_state_dict(model), plain.state_dict()
    for key, value in expected.items():
        torch.testing.assert_close(state[key], value, rtol=1e-9, atol=1e-12)


def test_a_step_moves_the_kernel_as_far_as_refocusing_on_average_over_directions():
    """For gradients of unit covariance, g G and c g have the same mean inner product with g."""
    torch.manual_seed(0)
    module = nn.Conv2d(6, 6, 3, groups=6, bias=False).double()
    other = copy.deepcopy(module)
    refconv.refocus(other)
    reparametrize(module, "lr_scaled")
    assert transform_of(other).gain.item() > 1  # gradients by R are not those of the kernel's speed
    moved = {id(module): 0.0, id(other): 0.0}
    for direction in torch.eye(6 * 9, dtype=torch.float64).reshape(-1, 6, 1, 3, 3):
        for conv in (module, other):
            conv.zero_grad()
            (conv.weight * direction).sum().backward()
            weight = next(transform_of(conv).parameters())
            base = conv.weight.detach()
            weight.data.add_(weight.grad)
            moved[id(conv)] += float(((conv.weight - base) * direction).sum().detach())  # <g, g G / c_S^2>
            weight.data.zero_()
    assert moved[id(module)] == pytest.approx(moved[id(other)])
