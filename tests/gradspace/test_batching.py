"""Kernels rewritten together, as on accelerators, train as one by one: by interpreted Triton and by torch, on a CPU."""

import copy
import pickle

import pytest
import torch
from torch import nn

import refconv
import spaces
from interpreted import interpreted  # noqa: F401 a fixture
from refconv.gradspace import batching
from spaces import Case


@pytest.fixture(params=["triton", "torch"])
def together(request, monkeypatch):
    """Rewrite kernels of the CPU together; return the names of what was rewritten, one for each time."""
    if request.param == "triton":
        launching = request.getfixturevalue("interpreted")
        monkeypatch.setattr(launching, "_LANES", 128)  # few programs, since interpreting one takes its time
        monkeypatch.setattr(launching, "_TILE", 4096)
    monkeypatch.setattr(batching, "way", lambda device: request.param)
    done = []
    names = {"triton": ("rewrite_slices", "rewrite_rows"), "torch": ("by_shifts", "apply_gram")}[request.param]
    for name, short in zip(names, ("slices", "rows"), strict=True):
        original = getattr(batching, name)

        def counted(*given, original=original, short=short, **more):
            done.append(short)
            return original(*given, **more)

        monkeypatch.setattr(batching, name, counted)
    return done


CASES = {
    "dense": Case(groups=1, nesterov=True),
    "dense, normalized, maximize": Case(groups=1, scale="normalized", maximize=True, kernel_size=(2, 3)),
    "dense, map 5, no momentum": Case(groups=1, map_size=5, momentum=0.0, scale="paper", kernel_size=(2, 3)),
    "dense, one dimension, rounds": Case(dimensions=1, groups=1, kernel_size=(5,), rounds=2),
    "dense, transposed, 3-D": Case(dimensions=3, groups=1, kernel_size=(2, 1, 3), transposed=True, inputs=1),
    "depthwise": Case(groups=5, outputs=1, inputs=1, weight_decay=0.3),
    "groups across": Case(groups=2, order="across", dampening=0.1),
    "groups transposed": Case(groups=3, outputs=3, transposed=True, scale="paper", start="kaiming"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_both_spaces_agree_where_kernels_are_rewritten_together(case, together, monkeypatch):
    monkeypatch.setattr(spaces, "STEPS", 4)
    expected, _ = case.in_kernel_space(clip=0.5)
    trained = found, _ = case.in_gradient_space(clip=0.5)
    assert together == ["slices" if case.groups == 1 else "rows"] * 8  # for the norm and for the step
    largest = max(expected[0].weight.abs().max().item(), 1.0)
    within = min(case.tolerance(trained, clip=0.5), 1e-7) * largest
    torch.testing.assert_close(found[0].weight, expected[0].weight, rtol=0, atol=within)
    other, _ = case.in_gradient_space(clip=0.5, decay="kernel")
    assert (other[0].weight - expected[0].weight).abs().max() > 1e-5 * largest


def network(layout=torch.contiguous_format, dtype=torch.float32):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Tanh(), nn.Conv2d(8, 8, 1)]
    layers += [nn.Conv2d(8, 8, 3, groups=2), nn.Tanh(), nn.Conv2d(8, 6, 3), nn.Conv2d(6, 6, (1, 5), groups=6)]
    return nn.Sequential(*layers, nn.Flatten()).to(dtype=dtype, memory_format=layout)


def train(model, optimizer, steps=2):
    torch.manual_seed(1)
    parameter = next(model.parameters())
    for _ in range(steps):
        images = torch.randn(2, 3, 14, 14).to(parameter)
        optimizer.zero_grad()
        (model(images) - 0.3).square().mean().backward()
        optimizer.step()


def by_itself(monkeypatch, **settings):
    """Train kernel by kernel."""
    with monkeypatch.context() as patch:
        patch.setattr(batching, "way", lambda device: "alone")
        return trained(**settings)


def trained(layout=torch.contiguous_format, dtype=torch.float32, max_norm=None, steps=2, **settings):
    model = network(layout, dtype)
    groups = refconv.param_groups(model, **{"weight_decay": 0.1, **settings})
    optimizer = refconv.RefocusSGD(groups, lr=0.1, momentum=0.9, max_norm=max_norm)
    train(model, optimizer, steps)
    return model, optimizer


def assert_same(found, expected, tolerance):
    for (name, one), other in zip(found.state_dict().items(), expected.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance, msg=lambda text, name=name: name + text)
        assert one.stride() == other.stride()


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_a_network_takes_one_launch_for_each_kind_of_layer(layout, together, monkeypatch, request):
    expected, _ = by_itself(monkeypatch, layout=layout)
    together.clear()
    found, _ = trained(layout=layout)
    launches = {"triton": ["slices", "rows", "rows"], "torch": ["slices", "rows", "rows", "rows"]}
    assert sorted(together) == sorted(2 * launches[request.node.callspec.params["together"]])
    assert_same(found, expected, 1e-5)  # of float32, after two steps with momentum
    assert not torch.allclose(found[0].weight, network(layout)[0].weight, rtol=1e-2)


@pytest.mark.parametrize(
    "settings",
    [{"max_norm": 0.1}, {"scale": "paper", "decay": "none"}, {"decay": "kernel"}, {"order": "across", "map_size": 5}],
    ids=str,
)
def test_settings_are_the_same_together(settings, together, monkeypatch):
    settings = {"dtype": torch.float64, **settings}
    expected, _ = by_itself(monkeypatch, **settings)
    assert_same(trained(**settings)[0], expected, 1e-12)
    assert together


def test_decay_towards_nothing_that_was_set_later_is_taken_off(together, monkeypatch):
    def run():
        model = network(dtype=torch.float64)
        optimizer = refconv.RefocusSGD(refconv.param_groups(model, decay="none"), lr=0.1)
        for group in optimizer.param_groups:
            group["weight_decay"] = 0.5 if "sites" in group else 0.0
        train(model, optimizer)
        return model

    found = run()
    with monkeypatch.context() as patch:
        patch.setattr(batching, "way", lambda device: "alone")
        assert_same(found, run(), 1e-12)
    assert_same(found, trained(dtype=torch.float64, decay="none", weight_decay=0.0)[0], 1.0)


@pytest.mark.parametrize(
    "settings", [{"zeros": "keep"}, {"power": 0.5, "include": "dense"}, {"damping": 1.0, "include": "dense"}], ids=str
)
def test_masks_powers_and_damping_go_one_by_one(settings, together, monkeypatch):
    expected, _ = by_itself(monkeypatch, **settings)
    together.clear()
    found, _ = trained(**settings)
    assert not together
    assert_same(found, expected, 1e-5)


def test_bfloat16_kernels_are_computed_in_float32_by_torch_too(monkeypatch):
    settings = {"dtype": torch.bfloat16, "steps": 1}
    expected, _ = by_itself(monkeypatch, **settings)
    monkeypatch.setattr(batching, "way", lambda device: "torch")
    found, _ = trained(**settings)
    for one, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=2**-7, atol=2**-12)


def test_a_saved_and_a_copied_optimizer_go_on_as_if_never_interrupted(together):
    settings = {"dtype": torch.float64, "steps": 1, "include": "dense"}
    expected, optimizer = trained(**settings)
    copies = [copy.deepcopy((expected, optimizer)), pickle.loads(pickle.dumps((expected, optimizer)))]
    before = expected[0].weight.detach().clone()
    train(expected, optimizer, 1)
    for model, own in copies:
        assert torch.equal(model[0].weight, before)
        train(model, own, 1)
        assert_same(model, expected, 1e-13)
    assert not torch.allclose(expected[0].weight, before)


def test_no_more_is_put_together_than_may_be():
    sizes = [3, 4, 20, 1, 1, 9]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batching, "_TOGETHER", 10)
        assert [sizes[part] for part in batching._runs(sizes)] == [[3, 4], [20], [1, 1], [9]]
        sizes[-1] = 8
        assert [sizes[part] for part in batching._runs(sizes)] == [[3, 4], [20], [1, 1, 8]]


def test_kernels_of_the_cpu_go_one_by_one():
    assert batching.way(torch.device("cpu")) == "alone"
    assert batching.way(torch.device("meta")) == "torch"
