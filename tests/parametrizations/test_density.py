"""Density: one number a tap, shared by all slices."""

import pytest
import torch

from transforms import CONVOLUTIONS, disturb, transform_on


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_kernel_is_the_base_times_one_density_for_all_slices(kind):
    module = CONVOLUTIONS[kind]().double()
    base = module.weight.detach().clone()
    transform = transform_on("density", module)
    disturb(module)
    density = transform.density.reshape(base.shape[2:])
    expected = torch.stack([torch.stack([slice_ * density for slice_ in row]) for row in base])
    torch.testing.assert_close(module.weight, expected)
    assert disturb(module) == base[0, 0].numel()
