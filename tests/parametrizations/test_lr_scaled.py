"""Learning rate scaled: plain training at the mean speed of refocusing."""

import copy

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind, Shared
from refconv.errors import ModelError
from refconv.gradspace.groups import KernelSpec
from refconv.gradspace.metric import Metric
from refconv.layers import find_layers
from refconv.ops import gram, patches
from refconv.surgery import plain_state_dict, rebase, reparametrize
from refconv.surgery.kernel_state import merged_state
from refconv.surgery.refocusing import transform_of, transformed
from transforms import disturb


def mean_eigenvalue(module, order="contiguous", map_size=(3, 3)):
    """Mean over all eigenvalues of all Grams of a layer, from the Grams themselves."""
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


SETTINGS = [
    {},
    {"scale": "paper", "map_size": 5},
    {"scale": "normalized", "order": "across", "power": 0.5},
    {"power": -1.0, "damping": 0.2},
    {"order": "filters", "power": 2.0, "damping": 0.1},
    {"order": "layer", "damping": 1.0},
]


def means_of_metric(model, **settings):
    """For every layer the mean eigenvalue of M of each block, and its number of entries, from M itself.

    The metric is applied to every unit gradient of a block, as gradient space does it.
    """
    found = {}
    config = refconv.RefocusConfig(**settings)
    for row in refconv.plan(model, **settings).refocused:
        (layer,) = [layer for layer in find_layers(model) if layer.name == row.layer]
        base = layer.weight.detach().double()
        spec = KernelSpec.of(layer, config)
        metric, (b, m, k) = Metric.of(spec, base), spec.layout.block_shape
        traces = torch.zeros(b, dtype=torch.float64)
        for tap in range(k):  # every slice of a block is multiplied by the same M
            units = torch.zeros(b, m, k, dtype=torch.float64)
            units[..., tap] = 1
            traces += spec.layout.to_blocks(metric.apply(spec.layout.from_blocks(units)))[:, 0, tap]
        found[row.layer] = traces / k, base.numel()
    return found


def factors(model):
    """c of every transformed layer, as blocks, from what a difference of ones does to the kernel."""
    found = {}
    for name, module, transform in transformed(model):
        with torch.no_grad():
            transform.difference.fill_(1)
            layout = transform.layout
            moved = layout.to_blocks(module.weight) - layout.to_blocks(module.parametrizations.weight.original)
            transform.difference.zero_()
        found[name] = moved.square()
    return found


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("level", ["block", "layer", "network"])
def test_factors_are_the_mean_eigenvalues_of_the_metric_of_refocusing_at_each_level(level, settings):
    torch.manual_seed(0)
    model = EveryKind().double()
    with torch.no_grad():
        model.depthwise.weight.mul_(5)  # so that layers and blocks differ in scale
    expected = means_of_metric(model, **settings)
    network = sum(float(means.mean()) * count for means, count in expected.values())
    network /= sum(count for _, count in expected.values())
    unweighted = sum(float(means.mean()) for means, _ in expected.values()) / len(expected)
    assert abs(unweighted / network - 1) > 1e-3  # the neighbouring mistake: layers count alike
    reparametrize(model, "lr_scaled", level=level, **settings)
    found = factors(model)
    assert found.keys() == expected.keys()
    for name, (means, _) in expected.items():
        own = {
            "block": means[:, None, None],
            "layer": means.mean(),
            "network": torch.tensor(network, dtype=torch.float64),
        }[level]
        torch.testing.assert_close(found[name], own.expand_as(found[name]).contiguous(), rtol=1e-8, atol=1e-12)


def test_factor_of_the_network_follows_every_base_in_rounds_loads_copies_and_files(tmp_path):
    torch.manual_seed(0)
    settings = {"level": "network", "scale": "paper"}
    pretrained = EveryKind().double().eval()
    model = copy.deepcopy(pretrained)
    reparametrize(model, "lr_scaled", **settings)
    disturb(model)
    batch = torch.randn(1, 3, 20, 20).double()
    expected = model(batch)
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    loaded = copy.deepcopy(pretrained)
    refconv.load_adapter(loaded, tmp_path / "a.safetensors")
    assert torch.equal(loaded(batch), expected)
    plain = copy.deepcopy(pretrained)
    plain.load_state_dict(merged_state(pretrained, model.state_dict(), where="state"))
    assert torch.equal(plain(batch), expected)

    other = EveryKind().double()  # other weights: other factors
    fresh = copy.deepcopy(other)
    reparametrize(fresh, "lr_scaled", **settings)
    duplicate = copy.deepcopy(model)
    duplicate.load_state_dict(other.state_dict())
    wanted = factors(fresh)
    for name, factor in factors(duplicate).items():
        torch.testing.assert_close(factor, wanted[name])
    assert torch.equal(model(batch), expected)  # copies tell nothing to the original

    rebase(model)
    again = refconv.merged(model)
    reparametrize(again, "lr_scaled", **settings)
    wanted = factors(again)
    for name, factor in factors(model).items():
        torch.testing.assert_close(factor, wanted[name])
        assert not torch.allclose(factor, factors(loaded)[name], rtol=1e-3)


def test_a_kernel_that_layers_share_counts_once_in_the_network():
    torch.manual_seed(0)
    model = Shared().double()
    reparametrize(model, "lr_scaled", level="network")
    disturb(model)
    state = merged_state(Shared().double(), model.state_dict(), where="state")
    for key, value in plain_state_dict(model).items():
        assert torch.equal(state[key], value)
    assert len(transform_of(model.a).scope.told) == len(
        {id(layer.weight) for layer in find_layers(refconv.merged(model))}
    )


def test_layers_of_a_network_are_chosen_in_one_call():
    model = EveryKind()
    reparametrize(model, "lr_scaled", level="network", include="dense")
    with pytest.raises(ModelError, match="other layers share a setting of the network already; .*choose all layers in"):
        reparametrize(model, "lr_scaled", level="network", include="depthwise")
    assert type(model.depthwise) is nn.Conv2d


def test_files_of_before_there_were_levels_and_powers_are_unchanged():
    model = EveryKind()
    reparametrize(model, "lr_scaled")
    assert transform_of(model.stem).settings() == {"map_size": (3, 3), "order": "contiguous", "scale": "capped"}
    reparametrize(other := EveryKind(), "lr_scaled", level="network", power=0.5)
    with pytest.raises(RuntimeError, match="trained with other settings: level 'network' instead of None"):
        model.load_state_dict(other.state_dict())
