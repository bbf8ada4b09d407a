"""Free: plain training in another dress."""

import copy

import torch

from networks import EveryKind
from refconv.surgery import plain_state_dict, reparametrize


def trained(model, steps=20, weight_decay=0.0):
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=weight_decay)
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(4, 3, 20, 20).double()).square().mean().backward()
        optimizer.step()
    return plain_state_dict(model)


def test_sgd_on_the_difference_is_sgd_on_the_kernel():
    """Plain training with momentum and Nesterov, step for step, up to rounding; weight decay tells the two apart."""
    torch.manual_seed(0)
    plain = EveryKind().double()
    for decay in (0.0, 0.01):
        ordinary, model = copy.deepcopy(plain), copy.deepcopy(plain)
        reparametrize(model, "free")
        expected, state = trained(ordinary, weight_decay=decay), trained(model, weight_decay=decay)
        same = torch.allclose(state["grouped.weight"], expected["grouped.weight"], rtol=1e-9, atol=1e-12)
        assert same == (decay == 0)
        assert not torch.allclose(state["grouped.weight"], plain.grouped.weight, rtol=1e-3)
