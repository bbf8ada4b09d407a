"""Merge, merged, unrefocus and the plain state dict: exact, complete, and harmless to copies."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import refconv
from networks import EveryKind, Shared, randomise
from refconv.errors import LayerError, ModelError, RefconvWarning
from refconv.surgery import reparametrize
from refconv.surgery.places import places


def trained(dtype=torch.float64, steps=3, **settings):
    """A refocused model after a few real steps, with its batch."""
    torch.manual_seed(0)
    model = EveryKind().to(dtype)
    refconv.refocus(model, **settings)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)
    batch = torch.randn(4, 3, 20, 20, dtype=dtype)
    for _ in range(steps):
        optimizer.zero_grad()
        model(batch).square().mean().backward()
        optimizer.step()
    return model.eval(), batch


def structure(model):
    return (
        [(key, value.shape, value.dtype) for key, value in model.state_dict().items()],
        [(name, value.requires_grad) for name, value in model.named_parameters()],
        [(name, type(module)) for name, module in model.named_modules()],
    )


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "settings", [{}, {"order": "across"}, {"scale": "normalized", "power": 0.5}, {"map_size": 5}], ids=str
)
def test_merge_keeps_the_function_bit_for_bit(dtype, settings):
    model, batch = trained(dtype, **settings)
    refocused = model(batch)
    untouched = EveryKind().to(dtype)
    assert refconv.merge(model).layers
    # one computation gives the kernel in both, so equality is exact in every dtype
    assert torch.equal(model(batch), refocused)
    assert structure(model) == structure(untouched)


def test_merge_restores_flags_key_order_and_hooks():
    model = EveryKind()
    model.stem.weight.requires_grad_(False)
    before, hooks = structure(model), (len(model._forward_hooks), len(model._forward_pre_hooks))
    refconv.refocus(model)
    assert not any(p.requires_grad for n, p in model.named_parameters() if n.endswith("original"))
    refconv.merge(model)
    assert structure(model) == before
    assert (len(model._forward_hooks), len(model._forward_pre_hooks)) == hooks
    assert not model.stem._load_state_dict_pre_hooks
    assert not model._forward_hooks_always_called
    buffer = io.BytesIO()
    torch.save(model, buffer)  # an ordinary model again: pickles whole
    assert buffer.tell() > 0


def test_merge_of_a_copy_leaves_the_training_model_whole():
    """torch's own removal deletes the property from a class that copies share."""
    model, batch = trained()
    expected = model(batch)
    ema = copy.deepcopy(model)
    refconv.merge(ema)
    assert torch.equal(model(batch), expected)
    assert torch.equal(ema(batch), expected)
    plain = refconv.merged(model)
    assert torch.equal(plain(batch), expected)
    assert parametrize.is_parametrized(model.stem)
    model.train()(batch).sum().backward()
    assert not parametrize.is_parametrized(plain)


def test_merged_copy_shares_no_memory_with_the_model():
    model, _ = trained()
    ours = {value.data_ptr() for value in refconv.merged(model).state_dict().values()}
    theirs = {value.data_ptr() for value in model.state_dict().values()}
    assert not ours & theirs


def test_plain_state_dict_loads_strictly_into_a_fresh_model():
    model, batch = trained()
    state = refconv.plain_state_dict(model)
    fresh = EveryKind().double().eval()
    assert list(state) == list(fresh.state_dict())
    fresh.load_state_dict(state)
    assert torch.equal(fresh(batch), model(batch))
    assert not {value.data_ptr() for value in state.values()} & {v.data_ptr() for v in model.state_dict().values()}


def test_plain_state_dict_of_a_plain_model_is_its_state_dict():
    model = EveryKind()
    state = refconv.plain_state_dict(model)
    assert list(state) == list(model.state_dict())
    assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())


def test_merge_with_a_kernel_that_is_not_finite_touches_nothing():
    model, _ = trained()
    with torch.no_grad():
        model.up.parametrizations.weight[0].refocus_weight[0, 0, 0] = float("nan")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    with pytest.raises(
        LayerError, match="up: the refocused kernel has entries that are not finite.*last good checkpoint"
    ):
        refconv.merge(model)
    assert list(model.state_dict()) == list(before)
    assert all(torch.equal(value, before[key]) or key.startswith("up.") for key, value in model.state_dict().items())


def test_merge_refuses_a_plain_model_and_a_second_merge():
    with pytest.raises(ModelError, match="EveryKind: nothing to merge; expected a refocused model, found a plain one"):
        refconv.merge(EveryKind())
    model, _ = trained()
    refconv.merge(model)
    with pytest.raises(ModelError, match="nothing to merge"):
        refconv.merged(model)


def test_merge_keeps_a_parametrization_of_another_tensor():
    model = nn.Conv2d(4, 4, 3)
    parametrizations.weight_norm(model, "bias", dim=0)
    refconv.refocus(model)
    randomise(model)
    other = copy.deepcopy(model)
    batch = torch.randn(1, 4, 6, 6)
    expected = model(batch)
    refconv.merge(model)
    assert torch.equal(model(batch), expected)
    assert list(model.parametrizations) == ["bias"]
    assert isinstance(model.weight, nn.Parameter)
    assert torch.equal(other(batch), expected)


def test_unrefocus_brings_the_pretrained_kernels_back():
    torch.manual_seed(0)
    pretrained = EveryKind().double()
    model, _ = trained()
    names = refconv.unrefocus(model)
    assert names == ("stem", "depthwise", "grouped", "up")
    assert structure(model) == structure(pretrained)
    for name in names:
        assert torch.equal(model.get_submodule(name).weight, pretrained.get_submodule(name).weight)
    assert not torch.equal(model.head.weight, pretrained.head.weight)  # what trained along stays trained


def test_rounds_refocus_again_after_a_merge():
    model, batch = trained()
    refconv.merge(model)
    first = model(batch)
    refconv.refocus(model)
    assert torch.equal(model(batch), first)
    randomise(model)
    second = model(batch)
    refconv.merge(model)
    assert torch.equal(model(batch), second)
    assert not torch.equal(first, second)


def test_shared_kernel_is_transformed_and_merged_as_one():
    model = Shared()
    plan = refconv.refocus(model)
    assert plan.extra_parameters == model.a.parametrizations.weight[0].refocus_weight.numel()
    randomise(model)
    batch = torch.randn(1, 4, 8, 8)
    expected = model(batch)
    assert torch.equal(model.a.weight, model.b.weight)
    assert list(refconv.plain_state_dict(model)) == list(Shared().state_dict())
    refconv.merge(model)
    assert model.a.weight is model.b.weight
    assert torch.equal(model(batch), expected)


def test_merge_report_says_how_far_kernels_moved():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4))
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    refconv.refocus(model, map_size=1, scale="paper")
    with torch.no_grad():  # a 1 x 1 map of 0.5 on the diagonal scales every slice by 1.5
        model[0].parametrizations.weight[0].refocus_weight.copy_(0.5 * torch.eye(4)[None])
    report = refconv.merge(model)
    assert report.layers[0].relative_change == pytest.approx(0.5)
    assert report.layers[0].largest_change == pytest.approx(0.5)
    assert "by 50.0% of its norm" in str(report)
    assert torch.equal(model[0].weight, torch.full((4, 1, 3, 3), 1.5))


def test_merging_in_float32_then_casting_beats_casting_first():
    torch.manual_seed(0)
    model = nn.Conv2d(64, 64, 3, groups=64, bias=False)
    refconv.refocus(model)
    randomise(model, 0.02)
    exact = refconv.plain_state_dict(copy.deepcopy(model).double())["weight"]
    late = refconv.merged(model).bfloat16().weight.double()
    early = refconv.merged(copy.deepcopy(model).bfloat16()).weight.double()
    assert (late - exact).norm() < (early - exact).norm()


def test_merged_copies_a_model_that_holds_activations():
    model = EveryKind()
    refconv.refocus(model)
    model.kept = {"activations": [model.stem(torch.randn(1, 3, 20, 20))]}
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    plain = refconv.merged(model)
    assert torch.equal(plain.kept["activations"][0], model.kept["activations"][0])
    assert not plain.kept["activations"][0].requires_grad
    assert model.kept["activations"][0].requires_grad


def compile_whole(model):
    model.compile(backend="eager")


def compile_part(model):
    model.stem.compile(backend="eager")


def wrap_part(model):
    model.stem = torch.compile(model.stem, backend="eager")


@pytest.mark.parametrize("compiled", [compile_whole, compile_part, wrap_part])
def test_merging_a_compiled_model_gives_what_merging_the_plain_one_gives(compiled):
    model, batch = trained()
    expected = refconv.merged(model)
    compiled(model)
    outputs = model(batch)
    copied = refconv.merged(model)
    assert refconv.verify(model, copied, batch).largest_output_difference == 0
    assert refconv.verify(model, expected).same_structure
    refconv.merge(model)
    for found in (model, copied):
        state = {name.replace("_orig_mod.", ""): value for name, value in found.state_dict().items()}
        assert all(torch.equal(value, state[name]) for name, value in expected.state_dict().items())
    torch.testing.assert_close(model(batch), outputs)  # compiled again, for the plain kernels


def test_refocusing_a_model_that_is_compiled_in_place_trains_it():
    torch.manual_seed(0)
    model, batch = EveryKind(), torch.randn(4, 3, 20, 20)
    model.compile(backend="eager")
    before = model(batch)
    refconv.refocus(model)
    torch.testing.assert_close(model(batch), before)
    model(batch).square().mean().backward()
    assert all(value.grad.abs().sum() > 0 for name, value in model.named_parameters() if "refocus_weight" in name)


def test_the_report_counts_the_zeros_of_a_pruned_network_that_were_filled():
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4, bias=False))
    with torch.no_grad():
        model[0].weight[:, :, 0] = 0  # 12 of 36 entries
    assert refconv.refocus(model)
    untouched = refconv.merge(copy.deepcopy(model))
    assert untouched.layers[0].filled == 0
    assert str(untouched).endswith("zeros 33.3% before, 33.3% after")
    randomise(model)
    report = refconv.merge(model)
    assert report.layers[0].filled == 12
    assert "12 entries that were zero are not any more" in str(report)
    assert str(report).endswith("zeros 33.3% before, 0.0% after")


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("transform", ["refocus", "low_rank", "lr_scaled"])
def test_report_and_warning_say_that_an_optimizer_made_before_the_surgery_trained_nothing(transform, dtype):
    def report(early, lr=0.1):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 3)).to(dtype)
        optimizers = [torch.optim.SGD(model.parameters(), lr=lr)]
        reparametrize(model, transform)
        optimizers.append(torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=lr))
        model(torch.randn(2, 4, 8, 8, dtype=dtype)).square().sum().backward()
        optimizers[not early].step()
        return refconv.merge(model)

    remark = "never moved although gradients reached their weights"
    with pytest.warns(RefconvWarning, match=f"^of 2 kernels 2 {remark}.*the optimizer must be made after refocus"):
        assert f"; 2 {remark}" in str(report(early=True))
    assert [layer.untrained for layer in report(early=False).layers] == [False, False]
    tiny = report(early=False, lr=1e-6)  # lost where a kernel is rounded to bfloat16, but trained
    assert remark not in str(tiny)


def test_a_kernel_that_stays_where_others_move_is_not_warned_of():
    """Its steps were too small: an optimizer that was made too early moves none."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 2, 3))
    refconv.refocus(model)
    model(torch.randn(2, 4, 8, 8)).square().sum().backward()
    weights = [value for name, value in model.named_parameters() if "refocus_weight" in name]
    torch.optim.SGD(weights[1:], lr=0.1).step()
    report = refconv.merge(model)
    assert [layer.untrained for layer in report.layers] == [True, False]
    assert "never moved" not in str(report)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
def test_a_merged_model_is_folded_traced_exported_and_pickled_like_a_plain_one():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding="same"), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, (3, 5), groups=8)]
    model, batch = nn.Sequential(*layers).double(), torch.randn(2, 3, 10, 10).double()
    refconv.refocus(model)
    randomise(model)
    refconv.merge(model)
    model.eval()
    expected = model(batch)
    fused = nn.utils.fusion.fuse_conv_bn_eval(model[0], model[1])
    torch.testing.assert_close(fused(batch), model[1](model[0](batch)))
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (
        torch.jit.trace(model, batch),
        torch.fx.symbolic_trace(model),
        torch.export.export(model, (batch,)).module(),
        torch.load(file, weights_only=False),
    ):
        torch.testing.assert_close(other(batch), expected)
    prune.l1_unstructured(model[0], "weight", 0.5)
    assert (model[0].weight == 0).double().mean() == 0.5


def test_a_part_that_shares_layers_with_a_refocused_model_is_merged_alone():
    model, batch = trained()
    part = nn.Sequential(*list(model.children())[:1])
    expected = model(batch)
    refconv.merge(part)
    assert torch.equal(model(batch), expected)
    assert len(refconv.merge(model).layers) > 0
    assert torch.equal(model(batch), expected)
    assert not model._forward_hooks
    assert not model._forward_pre_hooks


def by_torch(model):
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("again", [by_torch, lambda model: pickle.loads(pickle.dumps(model))], ids=["torch", "pickle"])
@pytest.mark.parametrize("make", [EveryKind, Shared])
def test_a_refocused_model_is_pickled_with_all_that_it_learned(make, again):
    torch.manual_seed(0)
    model, before = make().double().eval(), make().double()
    before.load_state_dict(model.state_dict())
    refconv.refocus(model)
    randomise(model)
    batch = torch.randn(2, 4 if make is Shared else 3, 20, 20, dtype=torch.float64)
    copied = again(model)
    assert torch.equal(copied(batch), model(batch))
    assert list(copied.state_dict()) == list(model.state_dict())
    bases = [one for name, one in copied.named_parameters() if name.endswith("original")]
    assert bases
    assert not any(base.requires_grad_(True).requires_grad for base in bases)
    for parameter in copied.parameters():  # learns on, and alone
        if parameter.requires_grad:
            parameter.data.add_(0.1)
    assert not torch.equal(copied(batch), model(batch))
    with pytest.raises(LayerError, match="cannot be replaced"):
        next(module for module in copied.modules() if parametrize.is_parametrized(module)).register_parameter(
            "weight", nn.Parameter(torch.zeros(1))
        )
    expected = copied(batch)
    refconv.merge(copied)
    torch.testing.assert_close(copied(batch), expected)
    assert structure(copied) == structure(before.eval())


def test_a_refocused_model_is_pickled_with_other_parametrizations():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3)]
    parametrize.register_parametrization(layers[1], "bias", nn.Tanh())
    parametrizations.spectral_norm(layers[2])
    model = nn.Sequential(*layers).eval()
    refconv.refocus(model)
    randomise(model)
    batch = torch.randn(1, 3, 9, 9)
    copied = by_torch(model)
    assert torch.equal(copied(batch), model(batch))
    expected = model(batch)
    refconv.merge(copied)
    torch.testing.assert_close(copied(batch), expected)
    with pytest.raises(RuntimeError, match="Serialization of parametrized modules"):  # torch's own words
        torch.save(copied, io.BytesIO())


@pytest.mark.parametrize("again", [copy.deepcopy, by_torch])
def test_a_copy_notices_writes_to_its_bases_whatever_the_count_of_the_original(again):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, groups=4)).double()
    refconv.refocus(model, start="kaiming", scale="paper")
    (place,) = places(model)
    count = place.transform.followed[0]
    copied = again(model)
    (place,) = places(copied)
    for _ in range(count):
        place.base.mul_(1.5)
    fresh = copy.deepcopy(model)
    fresh.load_state_dict(copied.state_dict())
    batch = torch.randn(1, 4, 5, 5).double()
    torch.testing.assert_close(copied(batch), fresh(batch))
