"""Continuous: a network from coordinates to kernel values, against a loop over taps."""

import itertools
from math import sqrt

import pytest
import torch
from torch import nn

from transforms import CONVOLUTIONS, blocks_of, disturb, transform_on


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_change_is_a_sine_network_of_coordinates_from_minus_one_to_one(kind):
    torch.manual_seed(0)
    module = CONVOLUTIONS[kind]().double()
    transform = transform_on("continuous", module, hidden=5, frequency=3.0)
    disturb(module)
    base, kernel = blocks_of(module)
    network = nn.ModuleList([nn.Linear(1, 1) for _ in range(3)])
    for layer, name in zip(network, ("first", "second", "last"), strict=True):
        layer.weight, layer.bias = getattr(transform, f"{name}_weight"), getattr(transform, f"{name}_bias")
    size = transform.layout.kernel_size
    for number, place in enumerate(itertools.product(*map(range, size))):
        coordinates = [-1 + 2 * y / (taps - 1) for y, taps in zip(place, size, strict=True) if taps > 1]
        x = torch.tensor(coordinates).double()
        x = torch.sin(3.0 * network[0](x))
        x = torch.sin(3.0 * network[1](x))
        torch.testing.assert_close((kernel - base)[:, :, number].flatten(), network[2](x))


def test_hidden_layers_start_as_sine_networks_do():
    torch.manual_seed(0)
    transform = transform_on("continuous", nn.Conv2d(4, 4, 3), hidden=200, frequency=10.0)
    assert 0.95 * 0.5 < transform.first_weight.abs().max() <= 0.5  # 1 / 2 coordinates
    bound = sqrt(6 / 200) / 10
    assert 0.99 * bound < transform.second_weight.abs().max() <= bound
    assert not transform.last_weight.any()
    assert not transform.last_bias.any()
