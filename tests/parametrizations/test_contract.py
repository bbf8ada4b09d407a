"""What every registered transformation promises, whatever its formula."""

import copy

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind, Shared
from refconv.config import GramConfig
from refconv.ops import Layout
from refconv.parametrizations import TRANSFORMS, ForwardScope
from refconv.surgery import load_refocused_state_dict, plan_of, rebase, refocused_state_dict, reparametrize
from refconv.surgery.refocusing import transform_of, transformed
from transforms import CONVOLUTIONS, disturb, transform_on

VARIANTS = [
    *((name, {}) for name in TRANSFORMS),
    *((name, {"order": "across"}) for name, kind in TRANSFORMS.items() if issubclass(kind.config_class, GramConfig)),
    ("refocus", {"order": "layer"}),
    ("refocus", {"order": "filters", "exclude": "pointwise"}),
    ("shuffled", {"scale": "normalized", "power": 0.5, "seed": 3}),
    ("refocus", {"damping": 0.5}),
    ("refocus", {"damping": 0.5, "power": -1.0}),
    ("lr_scaled", {"map_size": 5}),
    ("lr_scaled", {"level": "block"}),
    ("lr_scaled", {"level": "network", "power": -0.5, "damping": 0.1}),
    ("low_rank", {"rank": 2, "scale": 0.5}),
    ("low_rank", {"rank": 2, "scale": 0.5, "factors": "principal"}),
    ("low_rank", {"rank": 2, "factors": "minor"}),
    ("spacings", {"taps": 3}),
    ("points", {"points": 2, "radius": 1.0}),
    ("continuous", {"hidden": 3, "frequency": 5.0}),
]
every_variant = pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=lambda value: str(value))
every_name = pytest.mark.parametrize("name", TRANSFORMS)
# Transformations as they are by default are on every kind of convolution; their other settings are slow on most.
QUICK = {"dense", "depthwise", "grouped"}
every_variant_on_convolutions = pytest.mark.parametrize(
    ("name", "settings", "kind"),
    [
        pytest.param(name, settings, kind, marks=[pytest.mark.slow] if settings and kind not in QUICK else [])
        for name, settings in VARIANTS
        for kind in CONVOLUTIONS
    ],
    ids=str,
)
BATCH = torch.randn(2, 3, 20, 20, generator=torch.Generator().manual_seed(1))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


def structure(model):
    return (
        [(key, value.shape, value.dtype) for key, value in model.state_dict().items()],
        [(name, value.requires_grad) for name, value in model.named_parameters()],
        [(name, type(module)) for name, module in model.named_modules()],
    )


@every_variant_on_convolutions
def test_start_is_the_pretrained_kernel_bit_for_bit_where_claimed(name, settings, kind):
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        module = CONVOLUTIONS[kind]().to(dtype)
        before = module.weight.detach().clone()
        transform = transform_on(name, module, **settings)
        assert module.weight.dtype == dtype
        if transform.exact_start:
            assert torch.equal(module.weight, before)
        elif kind == "dense":
            assert not torch.allclose(module.weight, before, atol=1e-2)  # else it should claim more


@every_variant_on_convolutions
def test_kernel_follows_from_what_is_trained_and_gradients_are_right(name, settings, kind):
    """By finite differences, in every trained number at once; each of them acts on the kernel. A gain comes on top."""
    module = CONVOLUTIONS[kind]().double()
    transform = transform_on(name, module, **settings)
    disturb(module)
    names, values = zip(*transform.named_parameters(), strict=True)
    base = module.parametrizations.weight.original

    def kernel(*given):
        return torch.func.functional_call(transform, dict(zip(names, given, strict=True)), (base,))

    leaves = [value.detach().clone().requires_grad_() for value in values]
    weights = torch.randn_like(base)
    gradients = torch.autograd.grad((kernel(*leaves) * weights).sum(), leaves)
    gain = dict(transform.named_buffers()).get("gain")  # weight norm trains one
    if gain is not None:
        transform.gain = None
        (expected,) = torch.autograd.grad((kernel(*leaves) * weights).sum(), leaves)
        torch.testing.assert_close(gradients, (gain * expected,))
    assert torch.autograd.gradcheck(kernel, leaves, fast_mode=True)
    assert all(gradient.any() for gradient in gradients)
    assert not torch.allclose(kernel(*leaves), base, atol=1e-3)


@every_variant_on_convolutions
def test_count_without_allocating_is_what_is_trained(name, settings, kind):
    module = CONVOLUTIONS[kind]()
    with torch.device("meta"):
        planned = plan_of(CONVOLUTIONS[kind](), name, **settings)
    assert reparametrize(module, name, **settings) == planned
    assert planned.extra_parameters == disturb(module) > 0
    assert planned.transform == name


@every_variant
def test_training_moves_the_kernel_and_leaves_the_base(name, settings):
    model = EveryKind()
    bases = {key: value.clone() for key, value in model.state_dict().items() if key.endswith("weight")}
    reparametrize(model, name, **settings)
    started = {layer: module.weight.detach().clone() for layer, module, _ in transformed(model)}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    for _ in range(2):
        optimizer.zero_grad()
        model(BATCH).square().mean().backward()
        optimizer.step()
    assert list(started) == ["stem", "depthwise", "grouped", "up"]
    for layer, module, _ in transformed(model):
        base = module.parametrizations.weight.original
        assert base.grad is None
        assert torch.equal(base, bases[f"{layer}.weight"])
        assert not torch.equal(module.weight, started[layer])


@every_variant
def test_merge_is_exact_and_gives_the_network_back(name, settings):
    untouched = structure(EveryKind())
    model = EveryKind().eval()
    reparametrize(model, name, **settings)
    disturb(model)
    expected = model(BATCH)
    plain = refconv.merged(model)
    certificate = refconv.verify(model, plain, BATCH)
    assert certificate.same_structure
    assert certificate.largest_kernel_difference == 0
    assert certificate.largest_output_difference == 0
    assert certificate.kernels == 5
    refconv.merge(model)
    assert structure(model) == untouched
    assert torch.equal(model(BATCH), expected)


@every_variant
def test_dropping_it_brings_the_pretrained_function_back(name, settings):
    model = EveryKind().eval()
    expected = model(BATCH)
    reparametrize(model, name, **settings)
    disturb(model)
    assert not torch.allclose(model(BATCH), expected)
    refconv.unrefocus(model)
    assert torch.equal(model(BATCH), expected)


@every_variant
def test_state_under_the_names_of_files_round_trips(name, settings):
    model = EveryKind().eval()
    plain = set(model.state_dict())
    reparametrize(model, name, **settings)
    disturb(model)
    state = {key: value.clone() for key, value in refocused_state_dict(model).items()}
    trained = {f"up.{key}" for key, _ in transform_of(model.up).named_parameters()}
    assert {key for key in state if key.startswith("up.")} == {"up.base", "up.bias", *trained}
    assert not trained & plain
    fresh = EveryKind().eval()
    reparametrize(fresh, name, **settings)
    load_refocused_state_dict(fresh, state)
    assert torch.equal(fresh(BATCH), model(BATCH))


@every_variant
def test_adapter_onto_the_pretrained_model_gives_the_trained_one(name, settings, tmp_path):
    pretrained = EveryKind().eval()
    model = copy.deepcopy(pretrained)
    reparametrize(model, name, **settings)
    disturb(model)
    refconv.save_adapter(model, tmp_path / "a.safetensors")
    refconv.load_adapter(pretrained, tmp_path / "a.safetensors")
    assert torch.equal(pretrained(BATCH), model(BATCH))
    assert str(pretrained) == str(model)


@every_variant
def test_plain_checkpoint_loads_strictly_and_starts_anew(name, settings):
    model, other = EveryKind().eval(), EveryKind().eval()
    reparametrize(model, name, **settings)
    disturb(model)
    model.load_state_dict(other.state_dict())
    expected = copy.deepcopy(other)
    reparametrize(expected, name, **settings)
    assert torch.equal(model(BATCH), expected(BATCH))
    if TRANSFORMS[name].exact_start:
        assert torch.equal(model(BATCH), other(BATCH))
    wrong = {**other.state_dict(), "stem.weight": torch.zeros(8, 3, 5, 5)}
    with pytest.raises(RuntimeError, match="size mismatch for stem.parametrizations.weight.original"):
        model.load_state_dict(wrong)


@every_variant
def test_new_round_keeps_the_function_and_the_parameters(name, settings):
    model = EveryKind().eval()
    reparametrize(model, name, **settings)
    disturb(model)
    expected, known = model(BATCH), [id(parameter) for parameter in model.parameters()]
    rebase(model)
    assert [id(parameter) for parameter in model.parameters()] == known
    if TRANSFORMS[name].exact_start:
        assert torch.equal(model(BATCH), expected)
    else:  # what training reached is of the form that it started in
        torch.testing.assert_close(model(BATCH), expected)


@every_name
def test_copy_is_independent(name):
    model = EveryKind().eval()
    reparametrize(model, name)
    expected = model(BATCH)
    other = copy.deepcopy(model)
    disturb(other)
    assert torch.equal(model(BATCH), expected)
    refconv.merge(other)
    model(BATCH).sum().backward()
    assert all(parameter.grad is not None for parameter in transform_of(model.stem).parameters())


@every_name
def test_memory_format_of_the_base_is_kept(name):
    model = nn.Conv2d(4, 4, 3, groups=2).to(memory_format=torch.channels_last)
    ordinary = copy.deepcopy(model).to(memory_format=torch.contiguous_format)
    torch.manual_seed(0)
    reparametrize(model, name)
    torch.manual_seed(0)
    reparametrize(ordinary, name)
    assert model.weight.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(model.weight, ordinary.weight)
    model(torch.randn(1, 4, 6, 6).to(memory_format=torch.channels_last)).sum().backward()
    assert model.parametrizations.weight.original.is_contiguous(memory_format=torch.channels_last)


@every_name
def test_shared_kernel_is_transformed_and_merged_as_one(name):
    model = Shared()
    plan = reparametrize(model, name)
    assert plan.extra_parameters == disturb(model)
    assert plan.rows[1].extra_parameters == 0
    batch = torch.randn(1, 4, 8, 8)
    expected = model(batch)
    assert torch.equal(model.a.weight, model.b.weight)
    refconv.merge(model)
    assert model.a.weight is model.b.weight
    assert torch.equal(model(batch), expected)


@every_name
def test_kernel_is_computed_in_float32_at_least_and_rounded_once(name):
    module = nn.Conv2d(8, 8, 3, groups=4).bfloat16()
    transform = transform_on(name, module)
    disturb(module)
    assert all(parameter.dtype == torch.float32 for parameter in transform.parameters())
    base = module.parametrizations.weight.original
    exact = copy.deepcopy(transform).double()(base.double())
    torch.testing.assert_close(module.weight.double(), exact, rtol=2**-8, atol=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = transform(base.float())
    assert torch.equal(inside, transform(base.float()))


@every_name
def test_flattened_experts_are_transformed_each_for_itself(name):
    """As CondConv stores them: two experts at once are each expert alone, where nothing is shared by the layer."""
    config = TRANSFORMS[name].config_class()
    layout = Layout(groups=2, out_per_group=2, in_per_group=3, kernel_size=(3, 3), experts=2)
    base = torch.randn(2, 2 * 2 * 3 * 9)
    transform = TRANSFORMS[name]("experts", base, layout, ForwardScope(), config)
    kernel = transform(base)
    assert kernel.shape == base.shape
    if transform.exact_start:
        assert torch.equal(kernel, base)
    assert sum(p.numel() for p in transform.parameters()) == TRANSFORMS[name].count(layout, config)
    with torch.no_grad():
        for parameter in transform.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    transform(base).square().sum().backward()
    assert all(parameter.grad.any() for parameter in transform.parameters())


@every_name
def test_compiles_without_graph_break(name):
    torch.compiler.reset()  # else all these modules count as recompilations of one
    module = nn.Conv2d(4, 4, 3, groups=2)
    reparametrize(module, name)
    disturb(module)
    batch = torch.randn(1, 4, 6, 6)
    expected = module(batch)
    module.compile(fullgraph=True, backend="eager")
    torch.testing.assert_close(module(batch), expected)
