"""Kernels that are frozen at first and added to the optimizer later, as programs unfreeze a network by and by."""

import copy
import pickle

import pytest
import torch
from torch import nn
from torch.nn import functional

import refconv
from refconv.errors import LayerError, ModelError, RefconvWarning

BATCHES = torch.randn(5, 4, 3, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(1)
        self.backbone = nn.Sequential(nn.Conv2d(3, 6, 3), nn.GELU(), nn.Conv2d(6, 6, 3, groups=6), nn.GELU())
        self.head = nn.Linear(6, 2)
        self.double()

    def forward(self, images):
        return self.head(self.backbone(images).mean((2, 3)))


def frozen():
    network = Network()
    network.backbone.requires_grad_(False)
    return network


def optimizer_of(network, **settings):
    with pytest.warns(RefconvWarning, match="the 2 kernels are frozen: refocused once trainable"):
        groups = refconv.param_groups(network, **settings)
    return refconv.RefocusSGD(groups, lr=0.2, momentum=0.9, weight_decay=0.05)


def unfreeze(network, optimizer):
    network.backbone.requires_grad_(True)
    added = [parameter for parameter in network.backbone.parameters() if parameter.requires_grad]
    optimizer.add_param_group({"params": added, "lr": 0.1})


def train(network, optimizer, batches):
    for images in batches:
        optimizer.zero_grad()
        functional.cross_entropy(network(images), torch.tensor([0, 1, 1, 0])).backward()
        optimizer.step()


def unfrozen_in_kernel_space(**settings):
    """Return the kernels that the refocus weights make which are frozen, and unfrozen after two of five steps."""
    network = Network()
    refconv.refocus(network, **settings)
    network.backbone.requires_grad_(False)
    optimizer = torch.optim.SGD([{"params": network.head.parameters(), "weight_decay": 0.0}], 0.2, 0.9)
    train(network, optimizer, BATCHES[:2])
    network.backbone.requires_grad_(True)
    added = [parameter for parameter in network.backbone.parameters() if parameter.requires_grad]
    optimizer.add_param_group({"params": added, "lr": 0.1, "weight_decay": 0.05})
    train(network, optimizer, BATCHES[2:])
    return refconv.merged(network).state_dict()


@pytest.mark.parametrize("settings", [{}, {"order": "across", "scale": "paper"}], ids=["default", "paper"])
def test_kernels_that_are_added_later_move_as_their_refocus_weights_would(settings):
    network = frozen()
    optimizer = optimizer_of(network, **settings)
    train(network, optimizer, BATCHES[:2])
    assert torch.equal(network.backbone[0].weight, Network().backbone[0].weight)
    unfreeze(network, optimizer)
    assert len(optimizer.param_groups[-1]["params"]) == 4  # one group, biases in it
    train(network, optimizer, BATCHES[2:])
    assert optimizer.layers == ("backbone.0", "backbone.2")
    expected = unfrozen_in_kernel_space(**settings)
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=1e-13)  # some hundred roundings of 1e-16
    plain = frozen()
    without = torch.optim.SGD([{"params": plain.head.parameters(), "weight_decay": 0.0}], 0.2, 0.9, weight_decay=0.05)
    train(plain, without, BATCHES[:2])
    unfreeze(plain, without)
    train(plain, without, BATCHES[2:])
    assert not torch.allclose(plain.backbone[2].weight, expected["backbone.2.weight"], rtol=0, atol=1e-4)


def test_kernels_that_are_added_later_are_decayed_as_the_settings_say():
    ends = {}
    for decay in ("refocus", "kernel", "none"):
        network = frozen()
        optimizer = optimizer_of(network, decay=decay)
        unfreeze(network, optimizer)
        start = network.backbone[2].weight.detach().clone()
        for parameter in network.parameters():
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        ends[decay] = network.backbone[2].weight.detach() / start
        assert bool((network.backbone[2].bias != Network().backbone[2].bias).all())  # by the group's decay
    assert torch.equal(ends["refocus"], torch.ones_like(ends["refocus"]))
    assert torch.equal(ends["none"], torch.ones_like(ends["none"]))
    torch.testing.assert_close(ends["kernel"], torch.full_like(ends["kernel"], 1 - 0.1 * 0.05))


def test_a_random_start_is_applied_when_kernels_are_added():
    network = frozen()
    optimizer = optimizer_of(network, start="kaiming")
    assert torch.equal(network.backbone[0].weight, Network().backbone[0].weight)
    unfreeze(network, optimizer)
    assert not torch.equal(network.backbone[0].weight, Network().backbone[0].weight)
    assert torch.equal(optimizer.base("backbone.0"), Network().backbone[0].weight)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"])
def test_copies_know_the_kernels_that_are_frozen(way):
    network = frozen()
    optimizer = optimizer_of(network)
    network, optimizer = way((network, optimizer))
    unfreeze(network, optimizer)
    assert optimizer.layers == ("backbone.0", "backbone.2")


def test_state_with_later_groups_is_resumed_bit_for_bit():
    runs = []
    for _ in range(2):
        network = frozen()
        optimizer = optimizer_of(network)
        unfreeze(network, optimizer)
        runs.append((network, optimizer))
    (network, optimizer), (other, resumed) = runs
    train(network, optimizer, BATCHES[:3])
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in runs:
        train(*one, BATCHES[3:])
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_state_of_before_is_resumed_and_unfrozen_bit_for_bit():
    network, other = frozen(), frozen()
    optimizer, resumed = optimizer_of(network), optimizer_of(other)
    train(network, optimizer, BATCHES[:2])
    other.load_state_dict(copy.deepcopy(network.state_dict()))
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in ((network, optimizer), (other, resumed)):
        unfreeze(*one)
        train(*one, BATCHES[2:])
    assert resumed.layers == ("backbone.0", "backbone.2")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_groups_may_be_put_in_the_place_of_all_groups():
    """As Lightning's BaseFinetuning does when it resumes: one more group than before, made of what it stored."""
    network, other = frozen(), frozen()
    optimizer, resumed = optimizer_of(network), optimizer_of(other)
    unfreeze(network, optimizer)
    train(network, optimizer, BATCHES[:3])
    other.load_state_dict(network.state_dict())
    other.backbone.requires_grad_(True)
    names, of = {one: name for name, one in network.named_parameters()}, dict(other.named_parameters())
    resumed.param_groups = [
        {**copy.deepcopy({key: value for key, value in group.items() if key != "params"}),
         "params": [of[names[parameter]] for parameter in group["params"]]}
        for group in optimizer.param_groups
    ]  # fmt: skip
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for one in ((network, optimizer), (other, resumed)):
        train(*one, BATCHES[3:])
    assert resumed.layers == ("backbone.0", "backbone.2")
    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), other.parameters(), strict=True))


def test_a_frozen_kernel_that_cannot_be_a_base_is_refused_when_it_is_added():
    network = frozen()
    nn.init.zeros_(network.backbone[2].weight)
    optimizer = optimizer_of(network)
    with pytest.raises(LayerError, match=r"backbone\.2: the kernel is all zero"):
        unfreeze(network, optimizer)
    nn.init.ones_(network.backbone[2].weight)
    unfreeze(network, optimizer)
    assert optimizer.layers == ("backbone.0", "backbone.2")
    train(network, optimizer, BATCHES[:1])


def test_some_frozen_kernels_are_no_news_and_all_of_a_frozen_network_an_error(recwarn):
    network = Network()
    network.backbone[0].requires_grad_(False)
    groups = refconv.param_groups(network)
    assert [len(group["sites"]) for group in groups if "sites" in group] == [1]
    assert not recwarn
    with pytest.raises(ModelError, match="its weight is frozen"):
        refconv.param_groups(network.requires_grad_(False))


def test_printing_counts_the_kernels_of_a_mixed_group():
    network = frozen()
    optimizer = optimizer_of(network)
    unfreeze(network, optimizer)
    assert "refocused: 2 kernels" in repr(optimizer)
