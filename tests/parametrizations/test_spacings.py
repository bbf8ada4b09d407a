"""Spacings: extra taps at real positions, against a slow loop."""

import itertools

import pytest
import torch

from transforms import CONVOLUTIONS, blocks_of, disturb, transform_on


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_taps_are_interpolated_into_the_nearest_ones(kind):
    torch.manual_seed(0)
    module = CONVOLUTIONS[kind]().double()
    transform = transform_on("spacings", module, taps=2)
    disturb(module)
    base, kernel = blocks_of(module)
    size = transform.layout.kernel_size
    moving = [axis for axis, taps in enumerate(size) if taps > 1]
    expected = base.clone()
    for b, m, tap in itertools.product(*map(range, transform.tap_values.shape)):
        for number, place in enumerate(itertools.product(*map(range, size))):
            share = 1.0
            for coordinate, axis in enumerate(moving):
                middle = (size[axis] - 1) / 2
                position = (
                    float(transform.tap_positions[b, m, tap, coordinate].detach().clamp(-middle, middle)) + middle
                )
                share *= max(0.0, 1 - abs(place[axis] - position))
            expected[b, m, number] += share * transform.tap_values[b, m, tap]
    torch.testing.assert_close(kernel, expected)


def test_a_tap_on_the_grid_is_that_tap_and_halfway_is_shared_by_four():
    module = CONVOLUTIONS["one slice"]().double()
    transform = transform_on("spacings", module)
    base = module.parametrizations.weight.original[0, 0]
    for position, expected in (
        ((0.0, 1.0), [[0, 0, 0], [0, 0, 1], [0, 0, 0]]),
        ((-0.5, 0.5), [[0, 0.25, 0.25], [0, 0.25, 0.25], [0, 0, 0]]),
        ((9.0, -9.0), [[0, 0, 0], [0, 0, 0], [1, 0, 0]]),  # outside: clamped to the corner
    ):
        with torch.no_grad():
            transform.tap_values.fill_(1)
            transform.tap_positions.copy_(torch.tensor(position))
        torch.testing.assert_close(module.weight[0, 0] - base, torch.tensor(expected, dtype=torch.float64))


def test_positions_start_all_over_the_grid_and_values_add_up():
    torch.manual_seed(0)
    module = CONVOLUTIONS["dense"]().double()
    transform = transform_on("spacings", module, taps=50)
    positions = transform.tap_positions.detach().flatten(0, 2)
    assert positions.abs().max() <= 1
    torch.testing.assert_close(positions.mean(0), torch.zeros(2).double(), rtol=0, atol=0.1)
    torch.testing.assert_close(positions.std(0), torch.full((2,), 2 / 12**0.5).double(), rtol=0.1, atol=0)
    with torch.no_grad():
        transform.tap_values.fill_(1)
    base, kernel = blocks_of(module)
    torch.testing.assert_close((kernel - base).sum(-1), torch.full((24, 1), 50.0).double())
