"""``refconv.timm``: the optimizers that timm's factory makes of names that begin with ``refocus_``."""

import pytest
import timm
import torch
from timm.optim import Lookahead, create_optimizer_v2, list_optimizers, param_groups_weight_decay

import refconv
import refconv.timm  # noqa: F401  # teaches timm's factory
from refconv.errors import ModelError

IMAGES = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(5))


def network():
    torch.manual_seed(0)
    return timm.create_model("test_resnet", num_classes=3)


def trained(model, optimizer):
    for _ in range(2):
        optimizer.zero_grad()
        model(IMAGES).square().mean().backward()
        optimizer.step()
    return model.state_dict()


@pytest.mark.parametrize(("name", "nesterov"), [("refocus_sgd", True), ("refocus_momentum", False)])
def test_names_of_sgd_make_the_optimizer_of_gradient_space(name, nesterov):
    one, other = network(), network()
    made = create_optimizer_v2(one, name, lr=0.1, weight_decay=1e-3, scale="normalized", max_norm=1.0, decay="none")
    groups = refconv.param_groups(
        other, groups=param_groups_weight_decay(other, 1e-3), scale="normalized", decay="none"
    )
    expected = refconv.RefocusSGD(groups, lr=0.1, momentum=0.9, nesterov=nesterov, max_norm=1.0)
    assert type(made) is refconv.RefocusSGD
    first, second = trained(one, made), trained(other, expected)
    assert all(torch.equal(first[key], second[key]) for key in second)
    assert name in list_optimizers()


def test_groups_are_those_that_timm_makes():
    model = network()
    made = create_optimizer_v2(model, "refocus_sgd", lr=0.1, layer_decay=0.5, weight_decay=1e-3)
    plain = create_optimizer_v2(model, "sgd", lr=0.1, layer_decay=0.5, weight_decay=1e-3)
    scales = [
        {one: (group["lr_scale"], group["weight_decay"]) for group in optimizer.param_groups for one in group["params"]}
        for optimizer in (made, plain)
    ]
    assert len(set(scales[0].values())) > 2
    assert scales[0] == scales[1]
    own = create_optimizer_v2(
        model, "refocus_sgd", lr=0.1, param_group_fn=lambda net: [{"params": net.conv1.parameters()}]
    )
    assert own.layers == ("conv1.0", "conv1.3", "conv1.6")
    assert sum(len(group["params"]) for group in own.param_groups) == len(list(model.conv1.parameters()))


def test_other_names_refocus_the_model_and_make_timm_s_optimizer():
    model, before = network(), network()
    made = create_optimizer_v2(model, "refocus_adamw", lr=1e-3, weight_decay=0.05, exclude="conv1*")
    assert type(made) is torch.optim.AdamW
    held = {id(parameter) for group in made.param_groups for parameter in group["params"]}
    refocused = {name for name, _ in model.named_parameters() if ".parametrizations.weight.0." in name}
    assert refocused
    assert not any(name.startswith("conv1") for name in refocused)
    assert all(id(model.get_parameter(name)) in held for name in refocused)
    trained(model, made)
    refconv.merge(model)
    assert refconv.verify(before, model).same_structure
    assert not torch.equal(model.layer1[0].conv1.weight, before.layer1[0].conv1.weight)


def test_lookahead_goes_around_either():
    model = network()
    made = create_optimizer_v2(model, "lookahead_refocus_sgd", lr=0.1)
    assert type(made) is Lookahead
    assert type(made._base_optimizer) is refconv.RefocusSGD
    trained(model, made)
    other = create_optimizer_v2(network(), "lookahead_refocus_adamw", lr=0.1)
    assert type(other._base_optimizer) is torch.optim.AdamW


def test_other_names_stay_timm_s():
    model = network()
    assert type(create_optimizer_v2(model, "sgd", lr=0.1)) is torch.optim.SGD
    assert type(create_optimizer_v2(model.parameters(), "adamw", lr=0.1)) is torch.optim.AdamW


def test_parameters_without_their_model_are_refused():
    with pytest.raises(ModelError, match="refocus_sgd cannot refocus this; expected the model"):
        create_optimizer_v2(network().parameters(), "refocus_sgd", lr=0.1)


@pytest.mark.parametrize(("name", "settings"), [("refocus_none", {}), ("refocus_adamw", {"unknown": 1})])
def test_a_model_is_left_as_it_was_if_timm_refuses(name, settings):
    model = network()
    keys = list(model.state_dict())
    with pytest.raises((ValueError, TypeError)):
        create_optimizer_v2(model, name, lr=0.1, **settings)
    assert list(model.state_dict()) == keys
