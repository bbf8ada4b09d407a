"""Weight norm: torch's own is the other implementation."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from transforms import CONVOLUTIONS, disturb, transform_on


@pytest.mark.parametrize("kind", CONVOLUTIONS)
def test_kernel_is_that_of_torch_by_output_channel(kind):
    torch.manual_seed(0)
    module = CONVOLUTIONS[kind]().double()
    other = copy.deepcopy(module)
    transform = transform_on("weight_norm", module)
    disturb(module)
    if kind == "transposed":  # torch's default goes by input channel, and knows no groups: group by group, then
        kernels = [transform.gain[0, out] * row / row.norm() for out, row in enumerate(transform.direction[0])]
        rows = torch.stack(kernels).reshape(2, 3, 4, 3, 3).transpose(1, 2).reshape(8, 3, 3, 3)
        torch.testing.assert_close(module.weight, rows)
        return
    parametrizations.weight_norm(other)
    with torch.no_grad():
        other.parametrizations.weight.original0.copy_(transform.gain.reshape(-1, *[1] * (other.weight.dim() - 1)))
        other.parametrizations.weight.original1.copy_(transform.direction.reshape(other.weight.shape))
    torch.testing.assert_close(module.weight, other.weight)


def test_gain_is_the_length_of_every_filter():
    torch.manual_seed(0)
    module = nn.Conv2d(4, 6, 3).double()
    transform = transform_on("weight_norm", module)
    disturb(module)
    torch.testing.assert_close(module.weight.flatten(1).norm(dim=1), transform.gain[0].abs())


def test_a_filter_of_zeros_stays_finite():
    module = nn.Conv2d(2, 2, 3)
    with torch.no_grad():
        module.weight[0] = 0
    transform = transform_on("weight_norm", module)
    assert torch.equal(module.weight[0], torch.zeros(2, 3, 3))
    module(torch.randn(1, 2, 5, 5)).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in transform.parameters())
