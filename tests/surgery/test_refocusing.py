"""Refocusing in place: the plan that is carried out, plain checkpoints, and everything that is refused."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.parallel import DataParallel
from torch.nn.utils import parametrizations

import refconv
from networks import EveryKind, Repeated, Shared, randomise
from refconv.errors import CheckpointError, LayerError, ModelError, SettingError
from refconv.surgery import Plan, load_refocused_state_dict, refocused_state_dict


def test_plan_tells_what_refocus_does_and_touches_nothing():
    model = EveryKind()
    before = list(model.state_dict())
    plan = refconv.plan(model, exclude="up")
    assert list(model.state_dict()) == before
    assert plan == refconv.refocus(model, exclude="up")
    assert [row.layer for row in plan.refocused] == ["stem", "depthwise", "grouped"]
    assert {row.layer: row.skipped for row in plan.skipped} == {"pointwise": "one tap", "up": "excluded by 'up'"}
    weights = [p for n, p in model.named_parameters() if n.endswith("refocus_weight")]
    assert plan.extra_parameters == sum(weight.numel() for weight in weights)
    assert plan.parameters == sum(p.numel() for p in EveryKind().parameters())
    assert Plan.from_json(plan.to_json()) == plan


def test_plan_counts_parameters_as_the_paper_does():
    """n slices times m slices per block times t taps, per layer: depthwise C^2 * 9, dense in * out * 9."""
    model = nn.Sequential(nn.Conv2d(6, 8, 3), nn.Conv2d(8, 8, 5, groups=8), nn.Conv2d(8, 8, 3, groups=2))
    extra = [row.extra_parameters for row in refconv.plan(model).rows]
    assert extra == [6 * 8 * 9, 8 * 8 * 9, (8 * 4) * 2 * 9]


def test_plan_works_on_meta_tensors_where_refocus_refuses():
    with torch.device("meta"):
        model = EveryKind()
    assert len(refconv.plan(model).refocused) == 4
    with pytest.raises(LayerError, match="stem: the kernel has no values \\(meta device\\)"):
        refconv.refocus(model)


def test_plan_of_a_refocused_model_says_so():
    model = EveryKind()
    refconv.refocus(model)
    assert all(row.skipped in ("already parametrized by Refocus", "one tap") for row in refconv.plan(model).rows)


def test_plain_checkpoint_loads_strictly_and_gives_its_own_function():
    torch.manual_seed(1)
    other = EveryKind().eval()
    model = EveryKind().eval()
    refconv.refocus(model, scale="normalized")
    randomise(model)
    batch = torch.randn(2, 3, 20, 20)
    state = other.state_dict()
    keys = list(state)
    model.load_state_dict(state)
    assert list(state) == keys  # the caller's dictionary is left alone
    assert torch.equal(model(batch), other(batch))
    randomise(model)
    kernel = model.depthwise.weight
    reference = copy.deepcopy(other)
    refconv.refocus(reference, scale="normalized")
    with torch.no_grad():
        reference.depthwise.parametrizations.weight[0].refocus_weight.copy_(
            model.depthwise.parametrizations.weight[0].refocus_weight
        )
    assert torch.equal(kernel, reference.depthwise.weight)  # the patches are those of the new base


@pytest.mark.parametrize("refocused", [False, True])
def test_tensors_of_a_checkpoint_take_the_place_of_the_models_own(refocused):
    batch, states = torch.randn(2, 3, 20, 20), []
    models = [EveryKind().eval(), EveryKind().eval()]
    for model in models:
        if refocused or model is models[1]:
            refconv.refocus(model)
            randomise(model)
        states.append(model.state_dict())
    models[1].load_state_dict(states[0], assign=True)
    torch.testing.assert_close(models[1](batch), models[0](batch))
    flags = {name: parameter.requires_grad for name, parameter in models[1].named_parameters()}
    assert not any(flag for name, flag in flags.items() if name.endswith("original"))
    assert all(flag for name, flag in flags.items() if name.endswith("refocus_weight"))


def test_plain_checkpoint_with_a_missing_kernel_is_still_refused():
    model = EveryKind()
    state = model.state_dict()
    del state["depthwise.weight"]
    refconv.refocus(model)
    with pytest.raises(RuntimeError, match="Missing key"):
        model.load_state_dict(state)


def test_refocused_state_dict_uses_our_names_and_round_trips():
    model = EveryKind().eval()
    refconv.refocus(model, power=0.5)
    randomise(model)
    state = {key: value.clone() for key, value in refocused_state_dict(model).items()}
    assert "stem.base" in state
    assert "stem.refocus_weight" in state
    assert not any("parametrizations" in key for key in state)
    torch.manual_seed(5)
    fresh = EveryKind().eval()
    refconv.refocus(fresh, power=0.5)
    load_refocused_state_dict(fresh, state)
    batch = torch.randn(2, 3, 20, 20)
    assert torch.equal(fresh(batch), model(batch))


def test_refocused_state_with_other_keys_or_shapes_is_refused_and_nothing_is_loaded():
    model = EveryKind()
    refconv.refocus(model)
    state = {key: value.clone() + 1 for key, value in refocused_state_dict(model).items()}
    before = {key: value.clone() for key, value in model.state_dict().items()}
    bad = {**state, "extra.base": torch.zeros(1)}
    del bad["stem.base"]
    with pytest.raises(CheckpointError, match="1 missing: stem.base; 1 surplus: extra.base"):
        load_refocused_state_dict(model, bad)
    with pytest.raises(CheckpointError, match=r"head.bias: a tensor has another shape; expected \[5\], found \[7\]"):
        load_refocused_state_dict(model, {**state, "head.bias": torch.zeros(7)})
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_refocusing_twice_is_refused():
    model = EveryKind()
    refconv.refocus(model, include="depthwise")
    refconv.refocus(model, include="dense")  # other layers: fine
    with pytest.raises(LayerError, match="depthwise: the kernel is refocused already.*merge.*unrefocus"):
        refconv.refocus(model, include="depthwise")


def test_kernel_shared_with_one_that_is_not_chosen_is_refused():
    with pytest.raises(LayerError, match="a: the kernel is shared with b.weight, which is not chosen"):
        refconv.refocus(Shared(), include="a")
    model = Shared()
    model.c = nn.Conv2d(8, 4, 3, groups=2)
    model.c.weight = model.a.weight
    with pytest.raises(LayerError, match="a: the kernel is shared with c.weight, which reads it with other groups"):
        refconv.refocus(model)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.0, "depthwise: the kernel is all zero.*exclude='depthwise'"),
        (float("nan"), "depthwise: the kernel has entries that are not finite"),
        (float("inf"), "depthwise: the kernel has entries that are not finite"),
    ],
)
def test_kernels_that_cannot_be_a_base_are_refused_and_nothing_is_touched(value, message):
    model = EveryKind()
    nn.init.constant_(model.depthwise.weight, value)
    before = list(model.state_dict())
    with pytest.raises(LayerError, match=message):
        refconv.refocus(model)
    assert list(model.state_dict()) == before
    assert len(refconv.refocus(model, exclude="depthwise").refocused) == 3


def test_lazy_kernel_is_refused_until_it_is_initialised():
    model = nn.Sequential(nn.LazyConv2d(4, 3))
    with pytest.raises(LayerError, match="0: the kernel is not initialised yet; run one batch"):
        refconv.refocus(model)
    model(torch.randn(1, 3, 5, 5))
    assert refconv.refocus(model).refocused


def test_wrapped_models_are_refused_with_the_way_back():
    with pytest.raises(ModelError, match="wrapped by DataParallel; the plain model is its .module; wrap after"):
        refconv.refocus(DataParallel(Repeated()))
    with pytest.raises(ModelError, match="wrapper of torch.compile; .*the plain one is model._orig_mod"):
        refconv.refocus(torch.compile(Repeated(), backend="eager"))
    with pytest.raises(ModelError, match="expected a torch.nn.Module, found OrderedDict"):
        refconv.refocus(Repeated().state_dict())


def test_distributed_and_sharded_wrappers_are_refused_by_their_class(monkeypatch):
    for wrapper in ("DistributedDataParallel", "FullyShardedDataParallel", "FSDPModule"):
        model = nn.Sequential(type(wrapper, (Repeated,), {})())
        for verb in (refconv.refocus, refconv.merge, refconv.merged, refconv.unrefocus):
            with pytest.raises(ModelError, match=f"wrapped by {wrapper}"):
                verb(model)


def test_model_without_anything_to_refocus_is_refused():
    with pytest.raises(ModelError, match="nothing to refocus; .*found one tap"):
        refconv.refocus(nn.Sequential(nn.Conv2d(3, 3, 1)))
    with pytest.raises(ModelError, match="found no convolution"):
        refconv.refocus(nn.Linear(3, 3))


def test_map_size_of_other_dimensions_is_refused_at_its_layer():
    with pytest.raises(SettingError, match="map_size at stem: map size and kernel differ in dimensions"):
        refconv.refocus(EveryKind(), map_size=(3,))


def test_model_that_is_itself_a_convolution_works_under_the_empty_name():
    model = nn.ConvTranspose1d(4, 4, 5, groups=2)
    refconv.refocus(model)
    randomise(model)
    batch = torch.randn(1, 4, 9)
    expected = model(batch)
    assert list(refconv.plain_state_dict(model)) == ["weight", "bias"]
    assert set(refocused_state_dict(model)) == {"base", "refocus_weight", "bias"}
    refconv.merge(model)
    assert torch.equal(model(batch), expected)


def test_frozen_kernels_stay_frozen_in_both_spaces():
    def network():
        torch.manual_seed(0)
        model = EveryKind().double().eval()
        model.depthwise.requires_grad_(False)
        return model

    torch.manual_seed(1)
    images = torch.randn(2, 3, 20, 20, dtype=torch.float64)
    models = network(), network()
    plan = refconv.refocus(models[0])
    assert {row.layer: row.skipped for row in plan.rows}["depthwise"] == "its weight is frozen"
    assert refconv.plan(network()) == plan
    models[0].requires_grad_(True)  # bases stay bases; this kernel, which is none, would train
    models[0].depthwise.requires_grad_(False)
    optimizers = (
        torch.optim.SGD(models[0].parameters(), lr=0.1, momentum=0.9),
        refconv.RefocusSGD(refconv.param_groups(models[1]), lr=0.1, momentum=0.9),
    )
    for model, optimizer in zip(models, optimizers, strict=True):
        for _ in range(5):
            optimizer.zero_grad()
            (model(images) - 0.3).square().mean().backward()
            optimizer.step()
    refconv.merge(models[0])
    start, gradient = network().state_dict(), models[1].state_dict()
    for name, value in models[0].state_dict().items():
        # a few roundings of numbers of at most 1 in each of 5 steps
        torch.testing.assert_close(value, gradient[name], rtol=1e-12, atol=1e-14)
        moved = not torch.equal(value, start[name])
        assert moved == (not name.startswith(("depthwise", "norm.running", "norm.num"))), name
    everything = network().requires_grad_(False)
    for verb in (refconv.refocus, refconv.param_groups):
        with pytest.raises(
            ModelError, match=r"its weight is frozen; one tap; requires_grad_\(True\) on the kernels to train"
        ):
            verb(everything)


def test_kernels_of_tensors_that_are_no_kernels_are_refused_with_a_remedy_that_works():
    model = nn.Sequential(parametrizations.orthogonal(nn.Conv2d(3, 8, 3)))
    with pytest.raises(ModelError, match=r"by _Orthogonal; fold it into the kernels first: .*remove_param"):
        refconv.refocus(model)
    x = torch.randn(2, 3, 9, 9)
    expected = model(x)
    nn.utils.parametrize.remove_parametrizations(model[0], "weight")
    refconv.refocus(model)
    torch.testing.assert_close(model(x), expected)


def test_plan_remarks_on_patch_embeddings_and_on_kernels_of_one_slice():
    patches = nn.Conv2d(3, 8, 4, stride=4)
    only = refconv.plan(nn.Sequential(patches, nn.Conv2d(8, 8, 1)))
    assert "only patch embeddings are chosen" in str(only)
    assert Plan.from_dict(only.to_dict()).remarks == only.remarks
    assert refconv.plan(nn.Sequential(patches, nn.Conv2d(8, 8, 3, groups=8))).remarks == ()
    assert refconv.plan(nn.Sequential(nn.Conv2d(8, 8, 1)), include="pointwise").remarks == ()
    gate = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv1d(1, 1, 3, padding=1, bias=False))
    (remark,) = refconv.plan(gate).remarks
    assert remark.startswith("1 kernels of a single slice, which has no others to refocus on, such as 1")
    assert refconv.plan(gate, exclude="1").remarks == ()
