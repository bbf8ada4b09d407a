"""A real pair: a small network with every kind of kernel, before and after a few steps of training."""

import copy

import pytest
import torch
from torch import nn

from networks import EveryKind


def trained(model, steps=8, lr=0.1, shape=(3, 20, 20)):
    """A copy of a model after a few steps of SGD on fixed noise."""
    model = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(16, *shape, generator=generator)
    labels = torch.randint(0, 5, (16,), generator=generator)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model


@pytest.fixture(scope="session")
def trained_pair():
    torch.manual_seed(0)
    before = EveryKind()
    return before, trained(before)


class State:
    """Everything about a model that a measure must leave alone."""

    def __init__(self, *models):
        self.models = models
        self.found = self.now()

    def now(self):
        return [
            (
                {name: value.detach().clone() for name, value in model.state_dict().items()},
                [module.training for module in model.modules()],
                [(id(p), p.requires_grad, p.grad is None) for p in model.parameters()],
                [len(module._forward_hooks) for module in model.modules()],
            )
            for model in self.models
        ]

    def unchanged(self):
        for (old, *rest), (new, *now) in zip(self.found, self.now(), strict=True):
            if rest != now or old.keys() != new.keys() or not all(torch.equal(old[key], new[key]) for key in old):
                return False
        return True


@pytest.fixture
def state_of():
    return State
