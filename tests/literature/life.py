"""The whole life of a refocused network in float64, and how the small networks of these tests are written down."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves

import refconv

STEPS, LR = 3, 0.01
TOLERANCE = 1e-9
"""How far the two spaces may end apart, relative to the largest entry of a parameter: some thousand roundings of
float64 (2e-16) a step, which batch norms over few values amplify by three orders of magnitude at most."""


class Net(nn.Module):
    """Parts by name, and what is done with them: ``Net(lambda net, x: net.b(net.a(x)), a=..., b=...)``."""

    def __init__(self, run, **parts):
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, *inputs):
        return self.run(self, *inputs)


@dataclass(frozen=True)
class Case:
    """A small network: how many of its convolution kernels the plan takes, of how many, and what it is fed with."""

    build: Callable[[], nn.Module]
    refocused: int
    kernels: int
    shapes: tuple[tuple[int, ...], ...]
    settings: dict = field(default_factory=dict)

    def model(self):
        torch.manual_seed(0)
        return self.build().double()

    def batch(self):
        generator = torch.Generator().manual_seed(1)
        return tuple(torch.randn(*shape, generator=generator, dtype=torch.float64) for shape in self.shapes)


def collected():
    """Return an empty collection of cases by name, and the decorator that fills it."""
    cases = {}

    def case(refocused, kernels, *shapes, **settings):
        def note(build):
            cases[build.__name__] = Case(build, refocused, kernels, shapes or ((2, 3, 16, 16),), settings)
            return build

        return note

    return cases, case


def unit(inputs, outputs, size=3, *, stride=1, groups=1, dilation=1, norm=nn.BatchNorm2d, act=nn.GELU):
    """Return a convolution that keeps the size of its input (over its stride), a normalisation and an activation."""
    padding = dilation * (size - 1) // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride, padding, dilation, groups, bias=False), norm(outputs), act()
    )


def depthwise(channels, size=3, dilation=1):
    return nn.Conv2d(channels, channels, size, padding=dilation * (size // 2), dilation=dilation, groups=channels)


def head(channels, classes=5):
    """Return the mean over positions, of any number of dimensions, and a linear classifier."""
    return Net(lambda net, x: net.linear(x.flatten(2).mean(2)), linear=nn.Linear(channels, classes))


def attend(channels, heads=2):
    """Return self-attention over positions with a skip connection."""

    def run(net, x):
        tokens = x.flatten(2).transpose(1, 2)
        return x + net.attention(tokens, tokens, tokens)[0].transpose(1, 2).reshape(x.shape)

    return Net(run, attention=nn.MultiheadAttention(channels, heads, batch_first=True))


def residual(*parts):
    return Net(lambda net, x: x + net.branch(x), branch=nn.Sequential(*parts))


def tensors(output):
    return [leaf for leaf in tree_leaves(output) if isinstance(leaf, torch.Tensor)]


def objective(output):
    """Return a loss of any output: its distance from a constant, so that every number has a gradient."""
    return sum((value - 0.3).square().mean() for value in tensors(output) if value.is_floating_point())


@torch.no_grad()
def outputs(model, batch):
    return [value.clone() for value in tensors(model.eval()(*batch))]


def train(model, optimizer, batch, loss=objective, steps=STEPS):
    model.train()
    for step in range(steps):
        torch.manual_seed(step)  # of dropout, the same in every training
        optimizer.zero_grad()
        loss(model(*batch)).backward()
        optimizer.step()
    return model


def sgd(model):
    return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=LR, momentum=0.9)


def distance(one, other):
    """Return the largest difference between the parameters of two models, relative to the largest entry of each."""
    pairs = list(zip(one.parameters(), other.parameters(), strict=True))
    return max(
        float((a - b).detach().abs().max() / a.detach().abs().max().clamp(min=1e-3)) for a, b in pairs if a.numel()
    )


def live(case, loss=objective):
    """Plan, refocus, train in both spaces, merge, certify and load a network; return it as merged."""
    plain, batch = case.model(), case.batch()
    plan = refconv.plan(plain, **case.settings)
    assert (len(plan.refocused), len(plan.rows)) == (case.refocused, case.kernels)
    start = outputs(plain, batch)
    kernel, gradient = copy.deepcopy(plain), copy.deepcopy(plain)
    refconv.refocus(kernel, **case.settings)
    assert all(map(torch.equal, start, outputs(kernel, batch)))
    train(kernel, sgd(kernel), batch, loss)
    groups = refconv.param_groups(gradient, **case.settings)
    train(gradient, refconv.RefocusSGD(groups, lr=LR, momentum=0.9), batch, loss)
    trained = outputs(kernel, batch)
    refconv.merge(kernel)
    assert all(map(torch.equal, trained, outputs(kernel, batch)))
    assert distance(kernel, gradient) < TOLERANCE
    plainly = copy.deepcopy(plain)
    assert distance(train(plainly, sgd(plainly), batch, loss), gradient) > 1e3 * TOLERANCE
    fresh = case.model()
    assert refconv.verify(fresh, kernel).same_structure
    fresh.load_state_dict(kernel.state_dict())
    assert all(map(torch.equal, trained, outputs(fresh, batch)))
    return kernel


def window_mix(x, kernels, size, groups):
    """Apply a kernel per position [b, channels // groups, taps, positions], made by the network itself."""
    b, c, *space = x.shape
    windows = F.unfold(x, size, padding=size // 2).view(b, groups, c // groups, size * size, -1)
    return (windows * kernels[:, None]).sum(3).view(b, c, *space)
