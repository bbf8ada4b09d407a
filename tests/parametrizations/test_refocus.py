"""The refocus parametrization: exact start, precision, memory format, caching, gradients."""

import copy

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind, Repeated, randomise
from ops_reference import reference_scaling
from refconv.errors import LayerError, SettingError
from refconv.ops import patches
from refconv.parametrizations import Refocus
from refconv.surgery.refocusing import transformed

SETTINGS = [
    {},
    {"scale": "normalized"},
    {"power": 0.5},
    {"power": 0.0, "scale": "normalized"},
    {"map_size": 5},
    {"map_size": 1},
    {"order": "across"},
    {"damping": 0.3, "scale": "normalized"},
    {"damping": 0.3, "power": -1.0},
]


def transform_at(model, name):
    return next(transform for found, _, transform in transformed(model) if found == name)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_start_at_zeros_is_the_pretrained_function_bit_for_bit(settings, dtype):
    model = EveryKind().to(dtype).eval()
    batch = torch.randn(2, 3, 20, 20, dtype=dtype)
    before = model(batch)
    refconv.refocus(model, **settings)
    assert torch.equal(model(batch), before)
    assert model.depthwise.weight.dtype == dtype


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_kernel_is_base_plus_refocus_weight_times_patches(settings):
    """Against the formula assembled from the public operations, for a layer of every kind."""
    model = EveryKind().double()
    refconv.refocus(model, **settings)
    randomise(model)
    for _, module, transform in transformed(model):
        base, layout = module.parametrizations.weight.original, transform.layout
        blocks = layout.to_blocks(base)
        unfolded = patches(blocks, layout.kernel_size, transform.map_size)
        mean = torch.linalg.eigvalsh(unfolded.mT @ unfolded).mean(-1)[:, None, None]
        if damping := settings.get("damping"):
            unfolded = torch.cat([unfolded, (damping * mean).sqrt() * torch.eye(unfolded.shape[-1])], 1)
        gram = unfolded.mT @ unfolded
        if settings.get("scale") == "normalized":
            mean = torch.linalg.eigvalsh(gram).mean(-1)[:, None, None]
            unfolded, gram = unfolded / mean.sqrt(), gram / mean
        values, vectors = torch.linalg.eigh(gram)
        alive = values > 1e-12 * values.amax(-1, keepdim=True)
        root = torch.where(alive, values.clamp(min=1e-300) ** ((settings.get("power", 1) - 1) / 2), 0)
        shaped = unfolded @ (vectors * root[:, None, :]) @ vectors.mT
        if "scale" not in settings:
            shaped = torch.stack([rows / reference_scaling(rows)[0] for rows in shaped])
        expected = layout.from_blocks(blocks + transform.refocus_weight @ shaped)
        torch.testing.assert_close(module.weight, expected, rtol=1e-9, atol=1e-9)


def test_kaiming_start_has_the_released_spread():
    torch.manual_seed(0)
    model = nn.Conv2d(64, 64, 3, groups=64)
    refconv.refocus(model, start="kaiming")
    weight = transform_at(model, "").refocus_weight
    bound = 1 / (64 * 9) ** 0.5  # torch's convolution default: uniform within 1 / sqrt(fan in)
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.99 * bound
    torch.testing.assert_close(weight.std(), torch.tensor(bound / 3**0.5), rtol=0.02, atol=0)


def test_only_the_refocus_weight_takes_gradients_and_gradcheck_passes():
    model = nn.Conv2d(4, 4, 3, groups=2).double()
    refconv.refocus(model)
    transform = transform_at(model, "")
    base = model.parametrizations.weight.original
    assert not base.requires_grad

    def kernel(weight):
        return torch.func.functional_call(transform, {"refocus_weight": weight}, (base,))

    assert torch.autograd.gradcheck(kernel, torch.randn_like(transform.refocus_weight).requires_grad_())
    model(torch.randn(1, 4, 5, 5).double()).sum().backward()
    assert transform.refocus_weight.grad.any()
    assert base.grad is None


@pytest.mark.parametrize("name", ["stem", "depthwise", "grouped", "up"])
def test_kernel_is_computed_in_float32_under_autocast(name):
    model = EveryKind()
    refconv.refocus(model)
    randomise(model)
    outside = model.get_submodule(name).weight
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = model.get_submodule(name).weight
    assert inside.dtype == torch.float32
    assert torch.equal(inside, outside)


def test_low_precision_kernel_is_rounded_once():
    model = nn.Conv2d(16, 16, 3, groups=16, bias=False).bfloat16()
    refconv.refocus(model)
    transform = transform_at(model, "")
    assert transform.refocus_weight.dtype == torch.float32
    randomise(model)
    base = model.parametrizations.weight.original
    exact = copy.deepcopy(transform).double()(base.double())
    assert model.weight.dtype == torch.bfloat16
    torch.testing.assert_close(model.weight.double(), exact, rtol=2**-8, atol=1e-6)


def test_channels_last_kernel_keeps_its_memory_format():
    model = nn.Conv2d(4, 4, 3, groups=2).to(memory_format=torch.channels_last)
    refconv.refocus(model)
    randomise(model)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    output = model(torch.randn(1, 4, 6, 6).to(memory_format=torch.channels_last))
    output.sum().backward()
    assert transform_at(model, "").refocus_weight.grad.any()
    volume = nn.Conv3d(4, 4, 3).to(memory_format=torch.channels_last_3d)
    refconv.refocus(volume)
    assert volume.weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_repeated_module_computes_its_kernel_once_a_forward(monkeypatch):
    calls = []
    original = Refocus.transform
    monkeypatch.setattr(Refocus, "transform", lambda self, blocks: calls.append(1) or original(self, blocks))
    model = Repeated()
    refconv.refocus(model)
    randomise(model)
    batch = torch.randn(2, 4, 8, 8)
    model(batch).sum().backward()
    assert len(calls) == 1
    gradient = transform_at(model, "conv").refocus_weight.grad.clone()
    model.zero_grad()
    model.conv(model.conv(model.conv(batch))).sum().backward()  # outside the model's forward: nothing is kept
    assert len(calls) == 4
    torch.testing.assert_close(transform_at(model, "conv").refocus_weight.grad, gradient)


def test_kept_kernel_does_not_outlive_its_forward():
    model = Repeated()
    refconv.refocus(model)
    batch = torch.randn(1, 4, 8, 8)
    first = model(batch)
    randomise(model)
    assert not torch.equal(model(batch), first)
    with pytest.raises(RuntimeError):
        model(torch.randn(1, 3, 8, 8))
    assert transform_at(model, "conv").scope.kernels is None


def test_kept_kernel_of_a_copy_is_its_own():
    model = Repeated()
    refconv.refocus(model)
    other = copy.deepcopy(model)
    randomise(other)
    batch = torch.randn(1, 4, 8, 8)
    assert transform_at(other, "conv").scope is not transform_at(model, "conv").scope
    before = model(batch)
    assert not torch.equal(other(batch), before)
    assert torch.equal(model(batch), before)


def test_kernel_kept_without_gradient_does_not_serve_training():
    class Mixed(Repeated):
        def forward(self, x):
            with torch.no_grad():
                x = self.conv(x)
            return self.conv(x)

    model = Mixed()
    refconv.refocus(model)
    model(torch.randn(1, 4, 8, 8)).sum().backward()
    assert transform_at(model, "conv").refocus_weight.grad.any()


def test_assigning_the_kernel_is_refused_with_the_remedy():
    model = nn.Conv2d(3, 3, 3)
    refconv.refocus(model)
    with pytest.raises(LayerError, match="cannot be assigned; merge"):
        model.weight = torch.zeros(3, 3, 3, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"start": "ones"}, "start: unknown start; expected zeros or kaiming, found 'ones'"),
        ({"power": -2}, "power: value out of range; expected a number of at least -1, found -2"),
        ({"map_size": 2}, "map_size: a map needs a centre; expected odd positive numbers, found 2"),
        ({"order": "up"}, "order: unknown order"),
    ],
)
def test_settings_out_of_range_are_refused_and_nothing_is_touched(settings, message):
    model = nn.Sequential(nn.Conv2d(3, 3, 3))
    with pytest.raises(SettingError, match=message):
        refconv.refocus(model, **settings)
    assert type(model[0]) is nn.Conv2d


def test_compiled_training_step_has_no_graph_break_and_equals_eager():
    torch.manual_seed(0)
    model = EveryKind()
    model.again = Repeated()
    model.again.conv = nn.Conv2d(3, 3, 3, padding=1, groups=3)
    forward = model.forward
    model.forward = lambda x: forward(model.again(x))
    refconv.refocus(model)
    randomise(model)
    batch = torch.randn(2, 3, 20, 20)
    expected = model(batch)
    expected.sum().backward()
    gradients = {
        name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None
    }
    model.zero_grad()
    keys = list(model.state_dict())
    model.compile(fullgraph=True, backend="aot_eager")
    for _ in range(2):
        model.zero_grad()
        output = model(batch)
        output.sum().backward()
    torch.testing.assert_close(output, expected, rtol=1e-4, atol=1e-5)
    for name, parameter in model.named_parameters():
        if name in gradients:
            torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-3, atol=1e-4)
    assert list(model.state_dict()) == keys
