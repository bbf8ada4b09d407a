"""Orders that relate whole layers: what they equal, which layers they take, and where they are refused."""

import copy

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind
from refconv.errors import LayerError
from refconv.gradspace.groups import KernelSpec
from refconv.gradspace.metric import Metric
from refconv.layers import find_layers
from refconv.ops import gram, grams, patches, scaling
from refconv.surgery import reparametrize
from refconv.surgery.refocusing import transform_of, transformed
from transforms import CONVOLUTIONS, disturb


def trained(model, steps=20, **settings):
    """Train in kernel space by SGD without decay; return the merged model."""
    reparametrize(model, settings.pop("method", "refocus"), **settings)
    torch.manual_seed(1)
    batch = torch.randn(2, 8, 9, 9, dtype=torch.float64)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.02, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        (model(batch).tanh() - 0.3).square().mean().backward()
        optimizer.step()
    refconv.merge(model)
    return model


@pytest.mark.parametrize("kind", [nn.Conv2d, nn.ConvTranspose2d])
@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("kernel_size", [1, 3])
def test_filters_train_as_linear_combinations_of_filters(kind, groups, kernel_size):
    """A = I + R: both are linear in what is trained, so equal steps on A and on R move the kernel alike."""
    torch.manual_seed(0)
    model = kind(8, 8, kernel_size, groups=groups).double()
    combined = trained(copy.deepcopy(model), method="combination", include="pointwise" if kernel_size == 1 else None)
    refocused = trained(copy.deepcopy(model), order="filters", scale="paper")
    torch.testing.assert_close(refocused.weight, combined.weight, rtol=1e-10, atol=1e-12)
    assert not torch.allclose(model.weight, combined.weight, atol=1e-3)
    if kernel_size > 1:
        other = trained(copy.deepcopy(model), order="layer", scale="paper")
        assert not torch.allclose(other.weight, combined.weight, atol=1e-4)


def test_depthwise_filters_are_slices_and_a_depthwise_layer_is_a_block():
    torch.manual_seed(0)
    model = nn.Conv2d(8, 8, 3, groups=8).double()
    weights = {}
    for name, settings in {
        "filters": {"order": "filters"},
        "one tap": {"map_size": 1},
        "layer": {"order": "layer"},
        "as ever": {},
    }.items():
        own = copy.deepcopy(model)
        refconv.refocus(own, **settings)
        torch.manual_seed(2)
        disturb(own)
        weights[name] = own.weight.detach()
    assert torch.equal(weights["filters"], weights["one tap"])
    assert torch.equal(weights["layer"], weights["as ever"])
    assert not torch.allclose(weights["layer"], weights["filters"])


@pytest.mark.parametrize("chunk", [2**19, 100])
@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_layer_has_one_gram_the_sum_over_all_slices_of_all_blocks(kind, chunk, monkeypatch):
    monkeypatch.setattr(grams, "_CHUNK", chunk)
    (layer,) = find_layers(CONVOLUTIONS[kind]().double())
    sizes = layer.kernel_size, layer.map_size(3)
    base = layer.weight.detach() * 3
    expected = gram(patches(layer.layout().to_blocks(base), *sizes)).sum(0)
    spec = KernelSpec(layer.name, layer.layout("layer"), sizes[1], "paper", 1.0)
    gradient = torch.randn_like(base)
    found = spec.layout.to_blocks(Metric.of(spec, base).apply(gradient))
    torch.testing.assert_close(found, spec.layout.to_blocks(gradient) @ expected)
    scales = scaling(spec.layout.to_blocks(base), *sizes, scale="capped")
    rows = patches(spec.layout.to_blocks(base), *sizes)[0]
    lengths = rows.norm(dim=1, keepdim=True)
    spread = rows.mT @ (rows / torch.where(lengths > 0, lengths, 1))
    assert scales.sign.item() == pytest.approx(max(1, (spread.square().sum() / layer.layout().taps).sqrt().item()))
    assert scales.root.item() == pytest.approx(max(1, torch.linalg.matrix_norm(expected, ord=2).sqrt().item()))


def test_filters_relate_pointwise_kernels_too_unless_a_selection_says_otherwise():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, groups=8))
    everything = ["0", "1", "2"]
    for settings, expected in (
        ({}, everything),
        ({"map_size": 5}, everything),
        ({"exclude": "pointwise"}, ["0", "2"]),
        ({"include": "depthwise"}, ["2"]),
        ({"include": ["1", "2"]}, ["1", "2"]),
        ({"include": "?"}, everything),
    ):
        plan = refconv.plan(model, order="filters", **settings)
        assert [row.layer for row in plan.refocused] == expected
        assert {row.map_size for row in plan.refocused} == {(1, 1)}
        groups = refconv.param_groups(model, order="filters", **settings)
        assert [one["site"] for group in groups for one in group.get("sites", ())] == expected
        other = copy.deepcopy(model)
        refconv.refocus(other, order="filters", **settings)
        assert [name for name, _, _ in transformed(other)] == expected
        assert plan.extra_parameters == sum(p.numel() for p in other.parameters() if p.ndim == 3)
    assert [row.layer for row in refconv.plan(model).refocused] == ["0", "2"]
    assert [row.layer for row in refconv.plan(model, include="?").refocused] == ["0", "2"]


@pytest.mark.parametrize(
    ("settings", "numbers"),
    [({"order": "layer"}, 4096**2 * 9), ({"order": "filters", "power": 0.0, "damping": 1.0}, None)],
    ids=str,
)
def test_relations_that_take_too_many_numbers_in_kernel_space_are_refused_before_anything_is_made(settings, numbers):
    model = nn.Sequential(nn.Conv2d(64, 64, 3) if numbers else nn.Conv2d(16384, 2, 1))
    message = (
        f"takes {numbers or (2 + 16384) * 16384:,} numbers in kernel space; expected at most 134,217,728; gradient"
    )
    with pytest.raises(LayerError, match=message):
        refconv.refocus(model, **settings)
    assert type(model[0]) is nn.Conv2d
    assert model[0].weight.requires_grad
    optimizer = refconv.RefocusSGD(refconv.param_groups(model, **settings), lr=0.1)
    model[0].weight.grad = torch.randn_like(model[0].weight)
    before = model[0].weight.detach().clone()
    optimizer.step()
    assert not torch.equal(model[0].weight, before)


def test_settings_of_whole_layers_are_in_adapters_and_states(tmp_path):
    for settings in ({"order": "layer"}, {"order": "filters", "map_size": 5}):
        model = EveryKind().eval()
        pretrained = copy.deepcopy(model)
        refconv.refocus(model, **settings)
        disturb(model)
        refconv.save_adapter(model, tmp_path / "a.safetensors")
        refconv.load_adapter(pretrained, tmp_path / "a.safetensors")
        assert transform_of(pretrained.stem).config == transform_of(model.stem).config
        batch = torch.randn(1, 3, 20, 20)
        assert torch.equal(pretrained(batch), model(batch))
