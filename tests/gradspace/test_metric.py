"""Zeros that are kept and complex kernels: the same training in both spaces, and neighbouring formulas elsewhere."""

import copy

import pytest
import torch
from torch import nn

import refconv
from refconv.errors import LayerError
from refconv.gradspace.groups import KernelSpec
from refconv.gradspace.metric import Metric
from refconv.layers import find_layers
from refconv.ops import gram, patches
from refconv.surgery import rebase, reparametrize

SETTINGS = [
    {},
    {"scale": "paper"},
    {"scale": "normalized", "power": 0.5},
    {"map_size": 5, "order": "across"},
    {"damping": 0.5},
    {"order": "layer"},
    {"order": "filters"},
]
each_setting = pytest.mark.parametrize("settings", SETTINGS, ids=str)


def sparse():
    """A dense, a grouped and a depthwise kernel, about half of their entries zero, a whole slice among them."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.Tanh(), nn.Conv2d(8, 8, 3, groups=4), nn.Tanh(), nn.Conv2d(8, 8, 3, groups=8)]
    model = nn.Sequential(*layers, nn.Flatten()).double()
    with torch.no_grad():
        for conv in (model[0], model[2], model[4]):
            conv.weight.mul_(torch.rand_like(conv.weight) > 0.5)
        model[0].weight[0, 0] = 0
    return model


def images(dtype=torch.float64):
    torch.manual_seed(1)
    return torch.randn(2, 3, 10, 10, dtype=dtype)


def train(model, optimizer, batch, steps=10):
    for _ in range(steps):
        optimizer.zero_grad()
        (model(batch).abs() - 0.3).square().mean().backward()
        if isinstance(optimizer, refconv.RefocusSGD):
            optimizer.clip_grad_norm_(0.5)
        else:
            nn.utils.clip_grad_norm_([p for p in model.parameters() if p.grad is not None], 0.5)
        optimizer.step()


def both(make, batch, **settings):
    """Train in both spaces, clipped and with momentum and decay, over two rounds; return both models."""
    kernel, gradient = make(), make()
    refconv.refocus(kernel, **settings)
    own = [p for name, p in kernel.named_parameters() if name.endswith("refocus_weight")]
    rest = [p for p in kernel.parameters() if p.requires_grad and not any(p is one for one in own)]
    groups = [{"params": rest}, {"params": own, "weight_decay": 0.1}]
    optimizer = torch.optim.SGD(groups, lr=0.2, momentum=0.9)
    train(kernel, optimizer, batch)
    for parameter in rebase(kernel):
        optimizer.state.pop(parameter, None)
    train(kernel, optimizer, batch)
    refconv.merge(kernel)
    optimizer = refconv.RefocusSGD(refconv.param_groups(gradient, weight_decay=0.1, **settings), lr=0.2, momentum=0.9)
    train(gradient, optimizer, batch)
    optimizer.rebase()
    train(gradient, optimizer, batch)
    return kernel, gradient


@each_setting
def test_kept_zeros_stay_zero_and_both_spaces_agree(settings):
    """K = B + M (R P): a step of SGD on R is one on K with g -> M ((M g) G) + w (K - B)."""
    start = sparse()
    for model in both(sparse, images(), zeros="keep", **settings):
        for number in (0, 2, 4):
            before, after = start[number].weight, model[number].weight
            assert torch.equal(after == 0, before == 0)
            assert not torch.allclose(after, before)
    pair = both(sparse, images(), zeros="keep", **settings)
    for one, other in zip(*(model.state_dict().values() for model in pair), strict=True):
        # twenty steps of a few roundings of numbers of about one; the loss is smooth and clipped
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_masked_metric_is_the_definition_and_neighbours_are_not():
    layer = find_layers(sparse())[1]
    base = layer.weight.detach()
    spec = KernelSpec(layer.name, layer.layout(), (3, 3), "paper", 1.0, "keep")
    gradient = torch.randn_like(base)
    blocks, mask = layer.layout().to_blocks(base), layer.layout().to_blocks((base != 0).double())
    grams = gram(patches(blocks, (3, 3), (3, 3)))
    g = layer.layout().to_blocks(gradient)
    expected = torch.empty_like(g)
    for block in range(g.shape[0]):
        for row in range(g.shape[1]):  # diag(M_i) G diag(M_i), slice by slice
            own = torch.diag(mask[block, row])
            expected[block, row] = g[block, row] @ own @ grams[block] @ own
    found = layer.layout().to_blocks(Metric.of(spec, base).apply(gradient))
    torch.testing.assert_close(found, expected)
    assert not torch.allclose(mask * (g @ grams), expected)  # masked after alone
    assert not torch.allclose((mask * g) @ grams, expected)  # masked before alone


@each_setting
def test_recovered_refocus_weight_of_a_masked_kernel_is_the_trained_one(settings):
    kernel = sparse()
    refconv.refocus(kernel, zeros="keep", **settings)
    train(kernel, torch.optim.SGD([p for p in kernel.parameters() if p.requires_grad], lr=0.2), images(), 3)
    gradient = sparse()
    optimizer = refconv.RefocusSGD(refconv.param_groups(gradient, zeros="keep", **settings), lr=0.2)
    train(gradient, optimizer, images(), 3)
    for number in (0, 2, 4):
        trained = kernel[number].parametrizations.weight[0].refocus_weight
        # masked Grams of few entries have condition numbers of up to 1e6
        torch.testing.assert_close(optimizer.refocus_weight(str(number)), trained, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("name", ["refocus", "low_rank", "free", "density", "weight_norm", "spacings", "shuffled"])
def test_every_transformation_keeps_zeros_on_request_and_fills_them_otherwise(name):
    for zeros in ("keep", "fill"):
        model = sparse()
        start = copy.deepcopy(model)
        plan = reparametrize(model, name, zeros=zeros)
        assert torch.equal(model(images()), start(images()))
        assert f"are zero ({sum(row.zeros for row in plan.rows) / 432:.1%}): they" in str(plan)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn_like(parameter))
        again = sparse()
        reparametrize(again, name, zeros=zeros)
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(images()), model(images()))
        report = refconv.merge(model)
        assert all(layer.entries and layer.zeros for layer in report.layers)
        pairs = [(start[number].weight, model[number].weight) for number in (0, 2, 4)]
        kept = all(torch.equal(before == 0, after == 0) for before, after in pairs)
        assert kept == (zeros == "keep" or name == "density")
        assert all(layer.filled == 0 for layer in report.layers) == kept


def test_files_of_kept_zeros_say_so_and_others_are_as_before(tmp_path):
    model = sparse()
    refconv.refocus(model, zeros="keep")
    with torch.no_grad():
        for _, parameter in model.named_parameters():
            parameter.add_(0.1) if parameter.requires_grad else None
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    other = sparse()
    refconv.load_adapter(other, tmp_path / "a.safetensors")
    assert torch.equal(other(images()), model(images()))
    filled = sparse()
    refconv.refocus(filled)
    with pytest.raises(RuntimeError, match="trained with other settings: zeros 'keep' instead of None"):
        filled.load_state_dict(model.state_dict())
    assert "zeros" not in filled[0].parametrizations.weight[0].settings()
    keep, fill = (refconv.param_groups(sparse(), zeros=zeros)[-1]["sites"][0] for zeros in ("keep", "fill"))
    assert keep["zeros"] == "keep"
    assert KernelSpec.from_dict(keep).zeros == "keep"
    assert "zeros" not in fill
    assert "parts" not in fill["layout"]
    optimizers = [refconv.RefocusSGD(refconv.param_groups(sparse(), zeros=zeros)) for zeros in ("keep", "fill")]
    with pytest.raises(refconv.RefconvError, match="the state differs in zeros"):
        optimizers[1].load_state_dict(optimizers[0].state_dict())


class Magnitude(nn.Module):
    def forward(self, z):
        return z * torch.rsqrt(1 + z.abs().square())


def complex_network():
    torch.manual_seed(0)
    kind = {"dtype": torch.complex128}
    layers = [nn.Conv2d(3, 4, 3, **kind), Magnitude(), nn.ConvTranspose2d(4, 4, 3, groups=2, **kind), Magnitude()]
    return nn.Sequential(*layers, nn.Conv2d(4, 4, 3, groups=4, **kind), nn.Flatten())


@each_setting
def test_complex_kernels_train_alike_in_both_spaces(settings):
    """The real and the imaginary parts of a complex kernel are kernels of their own, each with blocks of its own."""
    kernel, gradient = both(complex_network, images(torch.complex128), **settings)
    start = complex_network()
    for key, value in kernel.state_dict().items():
        torch.testing.assert_close(value, gradient.state_dict()[key], rtol=1e-10, atol=1e-12)
        assert not torch.allclose(value, start.state_dict()[key])
    assert refconv.verify(start, kernel).same_structure


def test_complex_kernel_is_that_of_its_parts_and_not_of_the_real_one_alone():
    model = nn.Conv2d(4, 4, 3, groups=2, dtype=torch.complex128)
    parts = [nn.Conv2d(4, 4, 3, groups=2, dtype=torch.float64) for _ in range(2)]
    with torch.no_grad():
        for part, own in zip(parts, (model.weight.real, model.weight.imag), strict=True):
            part.weight.copy_(own)
    refconv.refocus(model)
    weight = model.parametrizations.weight[0].refocus_weight
    assert weight.dtype == torch.float64
    with torch.no_grad():
        weight.normal_()
        half = len(weight) // 2
        for part, own in zip(parts, weight.split(half), strict=True):
            refconv.refocus(part)
            part.parametrizations.weight[0].refocus_weight.copy_(own)
    expected = torch.complex(parts[0].weight, parts[1].weight)
    torch.testing.assert_close(refconv.merged(model).weight, nn.Parameter(expected))


@pytest.mark.parametrize("name", ["low_rank", "separable", "continuous", "combination", "standardize", "points"])
def test_other_transformations_take_complex_kernels_too(name):
    model = complex_network()
    expected = model(images(torch.complex128))
    reparametrize(model, name)
    if name != "separable":
        torch.testing.assert_close(model(images(torch.complex128)), expected)
    model(images(torch.complex128)).abs().sum().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    expected = model(images(torch.complex128))
    refconv.merge(model)
    assert torch.equal(model(images(torch.complex128)), expected)


@pytest.mark.parametrize("scale", ["paper", "normalized", "capped"])
@pytest.mark.parametrize("settings", [{}, {"damping": 0.1}, {"power": 0.5}, {"order": "layer"}], ids=str)
@pytest.mark.parametrize("groups", [1, 4], ids=["dense", "depthwise"])
def test_kernels_so_large_that_their_gram_overflows_are_named_or_stay_finite(groups, settings, scale):
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 3, groups=groups))
    with torch.no_grad():
        model[0].weight.mul_(1e30)
    refocused = refconv.refocus(copy.deepcopy(model), scale=scale, **settings)
    assert refocused.refocused
    optimizer = refconv.RefocusSGD(refconv.param_groups(model, scale=scale, **settings), lr=1e-3)
    model[0].weight.grad = torch.full_like(model[0].weight, 1e-3)
    if scale == "paper" and settings.get("power", 1) == 1:
        with pytest.raises(LayerError, match="^0: its Gram is larger than its numbers can be; .*scale='capped'"):
            optimizer.step()
    else:
        optimizer.step()
    assert model[0].weight.isfinite().all()
