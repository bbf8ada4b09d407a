"""Hardsigmoid keeps its values and gains its second derivative."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from refconv.analysis.measures.curvature import TwiceDifferentiable, curvature


@pytest.mark.parametrize("apply", [F.hardsigmoid, nn.Hardsigmoid(), nn.Hardsigmoid(inplace=True)], ids=["f", "m", "i"])
def test_hardsigmoid_keeps_values_and_slopes(apply):
    x = torch.linspace(-4, 4, 33, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(F.hardsigmoid(x).square().sum(), x)
    with TwiceDifferentiable():
        values = apply(x)
    torch.testing.assert_close(values, F.hardsigmoid(x))
    (same,) = torch.autograd.grad(values.square().sum(), x, create_graph=True)
    torch.testing.assert_close(same, slope)
    (second,) = torch.autograd.grad(same.sum(), x)
    torch.testing.assert_close(second, (x.abs() < 3) * torch.full_like(x, 2 / 36))


def test_networks_with_hardsigmoid_have_a_curvature():
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.Hardsigmoid()).double()
    nn.init.constant_(model[0].weight, 0.5)
    batches = [(torch.full((1, 1), 2.0).double(), torch.zeros(1, 1).double())]
    found = curvature(model, batches, loss=F.mse_loss, top=1, draws=2)  # ((2 w + 3) / 6)^2
    assert found.eigenvalues == pytest.approx((2 * 4 / 36,))
    assert found.trace.mean == pytest.approx(found.eigenvalues[0])
