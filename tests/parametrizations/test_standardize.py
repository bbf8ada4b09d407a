"""Standardize: filters of zero mean and unit deviation, with gain and shift."""

import torch
from torch import nn

from transforms import disturb, transform_on


def test_kernel_is_gain_times_the_standardized_filter_plus_shift():
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3, groups=2).double()
    transform = transform_on("standardize", module)
    disturb(module)
    for out, row in enumerate(transform.filters[0]):
        standard = (row - row.mean()) / row.std(correction=0)
        expected = transform.gain[0, out] * standard + transform.shift[0, out]
        torch.testing.assert_close(
            module.weight[out].flatten(), expected, rtol=1e-6, atol=1e-7
        )  # epsilon 1e-10 of 1e-2


def test_gain_and_shift_are_deviation_and_mean_of_the_kernel():
    torch.manual_seed(0)
    module = nn.ConvTranspose2d(4, 6, 3).double()
    transform = transform_on("standardize", module)
    disturb(module)
    kernel = module.weight.transpose(0, 1).flatten(1)
    torch.testing.assert_close(kernel.mean(1), transform.shift[0])
    torch.testing.assert_close(kernel.std(1, correction=0), transform.gain[0].abs(), rtol=1e-6, atol=1e-7)


def test_a_filter_of_equal_entries_stays_finite():
    module = nn.Conv2d(2, 2, 3)
    with torch.no_grad():
        module.weight[0] = 0.5
    transform = transform_on("standardize", module)
    assert torch.equal(module.weight[0], torch.full((2, 3, 3), 0.5))
    module(torch.randn(1, 2, 5, 5)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in transform.parameters())
