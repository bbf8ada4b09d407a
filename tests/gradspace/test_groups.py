"""Parameter groups: what is refocused, what is decayed, what is refused."""

import re

import pytest
import torch
from torch import nn

import refconv
from networks import EveryKind
from refconv.errors import LayerError, ModelError, SettingError
from refconv.gradspace.groups import KernelGroup


def model():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 4, 1), nn.Linear(4, 2)
    )


def optimizer_of(groups, **more):
    return refconv.RefocusSGD(groups, lr=0.1, **more)


def test_groups_hold_every_trainable_parameter_once():
    network = model()
    network[4].bias.requires_grad_(False)
    held = [id(p) for group in refconv.param_groups(network) for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters() if p.requires_grad)


def test_biases_and_vectors_are_not_decayed_and_all_kernels_are():
    network = model()
    groups = refconv.param_groups(network, weight_decay=0.5)
    decayed = {id(p) for group in groups if group["weight_decay"] == 0.5 for p in group["params"]}
    assert decayed == {id(p) for p in network.parameters() if p.ndim > 1}
    assert {group["weight_decay"] for group in groups} == {0.0, 0.5}


def test_names_the_model_exempts_from_decay_are_not_decayed():
    network = model()
    network.no_weight_decay = lambda: {"0.weight"}
    groups = refconv.param_groups(network, weight_decay=0.5)
    (group,) = [g for g in groups if any(p is network[0].weight for p in g["params"])]
    assert group["weight_decay"] == 0.0
    assert "sites" in group


def test_refocused_kernels_are_those_of_the_plan():
    network = EveryKind()
    planned = [row.layer for row in refconv.plan(network, exclude="dense").refocused]
    groups = refconv.param_groups(network, exclude="dense")
    assert [layer["site"] for group in groups for layer in group.get("sites", ())] == planned
    assert planned


def test_groups_of_one_s_own_keep_their_options():
    network = model()
    rest = [p for module in network[1:] for p in module.parameters()]
    own = [
        {"params": list(network[0].parameters()), "lr_scale": 0.1, "weight_decay": 0.3},
        {"params": rest, "lr": 0.01, "weight_decay": 0.2},
    ]
    groups = refconv.param_groups(network, groups=own)
    shapes = [(group["weight_decay"], group.get("lr_scale"), group.get("lr"), "sites" in group) for group in groups]
    assert shapes == [
        (0.3, 0.1, None, False),
        (0.3, 0.1, None, True),
        (0.2, None, 0.01, False),
        (0.2, None, 0.01, True),
    ]
    assert [len(group["params"]) for group in groups] == [1, 1, 7, 1]


def test_weight_decay_beside_groups_of_one_s_own_is_refused():
    with pytest.raises(SettingError, match="weight_decay: has no effect beside groups"):
        refconv.param_groups(model(), 0.1, groups=[{"params": []}])


def test_decay_none_decays_no_refocused_kernel():
    groups = refconv.param_groups(model(), weight_decay=0.5, decay="none")
    assert [group["weight_decay"] for group in groups] == [0.0, 0.5, 0.0]


@pytest.mark.parametrize(
    "make",
    [
        lambda groups: torch.optim.SGD(groups, lr=0.1),
        lambda groups: torch.optim.AdamW(groups),
        lambda groups: torch.optim.RMSprop(groups),
    ],
)
def test_other_optimizers_refuse_the_groups_and_name_kernel_space(make):
    with pytest.raises(SettingError, match=r"refconv.RefocusSGD.*kernel space: refconv.refocus\(model\)"):
        make(refconv.param_groups(model()))


def test_the_optimizer_itself_holds_ordinary_groups():
    optimizer = optimizer_of(refconv.param_groups(model()))
    assert not any(isinstance(group, KernelGroup) for group in optimizer.param_groups)


def test_optimizer_without_refocused_kernels_is_refused():
    with pytest.raises(SettingError, match=r"no refocused kernels.*refconv.param_groups\(model\)"):
        optimizer_of(model().parameters())


def test_a_model_refocused_in_kernel_space_is_refused():
    network = model()
    refconv.refocus(network)
    with pytest.raises(LayerError, match=r"refocused already.*merge\(model\)"):
        refconv.param_groups(network)


def test_a_model_with_nothing_to_refocus_is_refused():
    with pytest.raises(ModelError, match="nothing to refocus"):
        refconv.param_groups(nn.Conv2d(3, 4, 1))
    frozen = nn.Conv2d(3, 4, 3).requires_grad_(False)
    with pytest.raises(ModelError, match="its weight is frozen; requires_grad_"):
        refconv.param_groups(frozen)


def test_what_is_no_model_is_refused():
    with pytest.raises(ModelError, match=re.escape("expected a torch.nn.Module, found list")):
        refconv.param_groups([])


def test_kernels_that_cannot_be_a_base_are_refused():
    network = model()
    nn.init.zeros_(network[2].weight)
    with pytest.raises(LayerError, match="2: the kernel is all zero"):
        refconv.param_groups(network)


def test_a_kernel_shared_with_one_that_is_not_chosen_is_refused():
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    network[1].weight = network[0].weight
    with pytest.raises(LayerError, match="shared with 1.weight"):
        refconv.param_groups(network, exclude="1")


def test_a_shared_kernel_is_one_layer():
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.Conv2d(4, 4, 3))
    network[1].weight = network[0].weight
    optimizer = optimizer_of(refconv.param_groups(network))
    assert optimizer.layers == ("0",)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"decay": "zero"}, "decay: unknown decay; expected refocus or kernel or none, found 'zero'"),
        ({"start": "ones"}, "start: unknown start"),
        ({"order": "random"}, "order: unknown order"),
        ({"power": -2}, "power: value out of range; expected a number of at least -1"),
        ({"map_size": 2}, "map_size: a map needs a centre"),
        ({"include": "no_such"}, "include: 'no_such' matches no convolution"),
    ],
)
def test_settings_out_of_range_are_refused(settings, words):
    with pytest.raises(SettingError, match=re.escape(words)):
        refconv.param_groups(model(), **settings)


def test_wrapped_and_compiled_models_are_looked_through():
    network = model()
    for wrapped in (nn.DataParallel(network), torch.compile(network)):
        optimizer = optimizer_of(refconv.param_groups(wrapped))
        assert optimizer.layers == ("0", "2")


def test_groups_edited_afterwards_are_refused():
    groups = refconv.param_groups(model())
    groups[-1]["params"] = groups[-1]["params"][::-1]
    with pytest.raises(SettingError, match="do not describe its parameters"):
        optimizer_of(groups)


def test_parameters_come_with_or_without_names_and_groups():
    torch.manual_seed(0)
    model = EveryKind()
    named = refconv.param_groups(model, groups=model.named_parameters())
    optimizer = refconv.RefocusSGD(named, lr=0.1)
    names = [name for group in optimizer.param_groups for name in group["param_names"]]
    assert sorted(names) == sorted(name for name, _ in model.named_parameters())
    parameters = dict(model.named_parameters())
    for group in optimizer.param_groups:
        for name, parameter in zip(group["param_names"], group["params"], strict=True):
            assert parameter is parameters[name]
    assert {f"{layer}.weight" for layer in optimizer.layers} == set(optimizer.param_groups[1]["param_names"])
    again = refconv.param_groups(model, groups=torch.optim.SGD(model.named_parameters(), lr=0.1).param_groups)
    assert [name for group in again for name, _ in group["params"]] == names
    bare = refconv.param_groups(model, groups=model.parameters())
    assert [len(group["params"]) for group in bare] == [len(group["params"]) for group in named]


@pytest.mark.parametrize("function", [refconv.param_groups, refconv.refocus, refconv.plan])
def test_a_setting_of_another_name_is_one_line_that_says_what_to_write(function):
    with pytest.raises(SettingError, match=r"normalize: refocus has no such .* scale = normalized in place of"):
        function(nn.Conv2d(4, 4, 3), normalize=True)
