"""The kernels of one forward are kept for that forward only, also when it is interrupted or checkpointed."""

import copy

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import refconv
from networks import randomise
from refconv.surgery import plain_state_dict


class Stop(nn.Module):
    """Interrupts the forward as Ctrl-C does, on request."""

    on = False

    def forward(self, x):
        if self.on:
            raise KeyboardInterrupt
        return x


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8), Stop(), nn.Flatten()).double()


def images():
    torch.manual_seed(1)
    return torch.randn(2, 3, 8, 8, dtype=torch.float64)


def interrupted(training):
    model = network()
    refconv.refocus(model)
    model[2].on = True
    with pytest.raises(KeyboardInterrupt), torch.set_grad_enabled(training):
        model(images())
    model[2].on = False
    return model


@pytest.mark.parametrize("training", [False, True])
def test_nothing_is_left_of_an_interrupted_forward(training):
    model = interrupted(training)
    randomise(model)  # weights that the kernels of the interrupted forward do not know
    fresh = network()
    refconv.refocus(fresh)
    fresh.load_state_dict(model.state_dict())
    outputs = fresh[:2](images())
    with torch.set_grad_enabled(training):
        assert torch.equal(model[:2](images()), outputs)  # submodules, whose hooks open nothing
    for copied in (copy.deepcopy(model), refconv.merged(model)):
        assert torch.equal(copied[:2](images()), outputs)
    for key, value in plain_state_dict(fresh).items():
        assert torch.equal(plain_state_dict(model)[key], value)
    refconv.merge(model)
    assert torch.equal(model[:2](images()), outputs)


def test_submodules_train_alone_after_an_interrupted_forward():
    model = interrupted(training=True)
    weight = model[0].parametrizations.weight[0].refocus_weight
    gradients = []
    for _ in range(2):  # a kept kernel's graph could be run through once only
        weight.grad = None
        model[:2](images()).sum().backward()
        gradients.append(weight.grad)
    assert gradients[0].any()
    assert torch.equal(*gradients)


class Repeated(nn.Module):
    """A convolution that runs three times, each time checkpointed if wished; counts how often its kernel is made."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=4)

    def forward(self, x, reentrant=None):
        for _ in range(3):
            x = self.conv(x) if reentrant is None else checkpoint(self.conv, x, use_reentrant=reentrant)
        return x


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_a_repeated_convolution_gives_its_gradients(reentrant):
    found = []
    for how in (None, reentrant):
        model = Repeated().double()
        refconv.refocus(model)
        model(torch.ones(2, 4, 6, 6, dtype=torch.float64, requires_grad=True), how).square().sum().backward()
        found.append(model.conv.parametrizations.weight[0].refocus_weight.grad)
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-14)  # three summands in another order


class Block(Repeated):
    """A region of checkpointing that uses the convolution twice, beside uses outside of it."""

    def forward(self, x, reentrant=None):
        def twice(x):
            return self.conv(torch.tanh(self.conv(x)))

        x = self.conv(x)
        x = twice(x) if reentrant is None else checkpoint(twice, x, use_reentrant=reentrant)
        return self.conv(x)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_a_region_with_several_uses_gives_its_gradients(reentrant):
    found = []
    for how in (None, reentrant):
        model = Block().double()
        refconv.refocus(model)
        model(torch.ones(2, 4, 6, 6, dtype=torch.float64, requires_grad=True), how).square().sum().backward()
        found.append(model.conv.parametrizations.weight[0].refocus_weight.grad)
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-14)  # summands in another order


def test_repeated_convolution_computes_its_kernel_once_a_forward(monkeypatch):
    model = Repeated()
    refconv.refocus(model)
    transform = model.conv.parametrizations.weight[0]
    calls = []
    compute = transform.kernel
    monkeypatch.setattr(transform, "kernel", lambda base: calls.append(0) or compute(base))
    for _ in range(2):
        model(torch.ones(1, 4, 6, 6))
    assert len(calls) == 2
