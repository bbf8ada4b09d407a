"""Points: positions, radii and values, against a slow loop."""

import itertools

import pytest
import torch

from transforms import CONVOLUTIONS, blocks_of, disturb, transform_on


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_a_tap_gets_the_mean_of_the_points_that_reach_it(kind):
    torch.manual_seed(0)
    module = CONVOLUTIONS[kind]().double()
    transform = transform_on("points", module, points=3, radius=1.5)
    disturb(module)
    base, kernel = blocks_of(module)
    moving = [axis for axis, taps in enumerate(transform.layout.kernel_size) if taps > 1]
    expected = base.clone()
    numbers = set()
    for number, place in enumerate(itertools.product(*map(range, transform.layout.kernel_size))):
        strengths = {}
        for point in range(3):
            distance = sum(
                abs(
                    place[axis]
                    - (transform.layout.kernel_size[axis] - 1) / 2
                    - float(transform.point_positions[point, coordinate].detach())
                )
                for coordinate, axis in enumerate(moving)
            )
            strength = 1 - distance / float(transform.point_radii[point].detach())
            if strength > 0:
                strengths[point] = strength
        numbers.add(len(strengths))
        for point, strength in strengths.items():
            expected[:, :, number] += strength * transform.point_values[:, :, point] / len(strengths)
    torch.testing.assert_close(kernel, expected)
    assert max(numbers) > 1  # else the mean would not have shown


def test_every_point_reaches_a_tap_at_the_start():
    torch.manual_seed(0)
    for kind in CONVOLUTIONS:
        module = CONVOLUTIONS[kind]()
        transform = transform_on("points", module, points=200)
        (module.weight * torch.randn_like(module.weight)).sum().backward()
        assert transform.point_values.grad.flatten(0, 1).any(0).all()


def test_a_radius_of_zero_or_less_is_no_division_by_zero():
    module = CONVOLUTIONS["dense"]()
    transform = transform_on("points", module)
    disturb(module)
    with torch.no_grad():
        transform.point_radii.copy_(torch.tensor([0.0, -1.0, 1e-9, 2.0]))
    module.weight.sum().backward()
    assert module.weight.isfinite().all()
    assert all(parameter.grad.isfinite().all() for parameter in transform.parameters())
