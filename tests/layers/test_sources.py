"""What the source of modules says of kernels, and what follows from it for plans."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import refconv
from refconv.errors import ModelError
from refconv.layers import find_layers, functional_convolutions
from refconv.surgery import Plan


class Gabor(nn.Module):
    """As GaborNet's code: while training, the kernel is computed and written into the convolution."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 7)
        self.theta = nn.Parameter(torch.rand(6, 3, 1, 1))

    def forward(self, x):
        if self.training:
            self._compute()
        return self.conv(x)

    def _compute(self):
        self.conv.weight.data = self.theta.cos().expand(6, 3, 7, 7).clone()


class MergedAtEval(nn.Conv2d):
    """As loralib: an update is added to the kernel in eval mode."""

    def train(self, mode=True):
        super().train(mode)
        if not mode:
            self.weight.data += 1
        return self


class InPlace(nn.Module):
    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)])

    def forward(self, x):
        self.convs[1].weight.data.clamp_(-1, 1)
        return self.convs[1](self.convs[0](x))


class Innocent(nn.Module):
    """Writes kernels where no forward does, and reads them where one does."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3)
        self.conv.weight.data.fill_(1)
        self.weight = None

    def reset_parameters(self):
        nn.init.ones_(self.conv.weight)
        self.conv.weight.data = torch.ones(3, 3, 3, 3)

    def forward(self, x):
        kernel = self.conv.weight.data.clone()
        kernel *= 2
        self.conv.bias.data.clamp_(-1, 1)
        self.conv.weight.requires_grad_(True)
        return self.conv(x) * kernel.mean()


def test_kernels_that_a_forward_writes_to_are_found():
    model = nn.ModuleDict({"a": Gabor(), "b": MergedAtEval(3, 3, 3), "c": InPlace(), "d": Innocent()})
    found = {layer.name: layer.written_by for layer in find_layers(model)}
    assert found == {
        "a.conv": "Gabor._compute",
        "b": "MergedAtEval.train",
        "c.convs.0": None,
        "c.convs.1": "InPlace.forward",
        "d.conv": None,
    }
    plan = refconv.refocus(model)
    reasons = {row.layer: row.skipped for row in plan.skipped}
    assert reasons["a.conv"] == "its kernel is written by Gabor._compute: only on request by its exact name"
    assert list(reasons) == ["a.conv", "b", "c.convs.1"]


def test_both_spaces_leave_written_kernels_alone_and_take_them_when_named():
    for verb in (refconv.refocus, refconv.param_groups):
        with pytest.raises(ModelError, match="its kernel is written by Gabor._compute.*name a layer in include="):
            verb(nn.Sequential(Gabor()))
        verb(nn.Sequential(Gabor()), include="0.conv")


class PerInput(nn.Module):
    """As LSNet: a static kernel makes small ones for each input, which are applied to unfolded patches."""

    def __init__(self):
        super().__init__()
        self.make = nn.Conv2d(4, 36, 7, padding=3)

    def forward(self, x):
        kernels = self.make(x).unflatten(1, (4, 9))
        return (F.unfold(x, 3, padding=1).view(*x.shape[:2], 9, *x.shape[2:]) * kernels).sum(2)


class Blur(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("kernel", torch.ones(4, 1, 3, 3) / 9)

    def forward(self, x):
        return F.conv2d(x, self.kernel, groups=4)


def test_plans_say_which_kernels_belong_to_no_convolution_module():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), PerInput(), Blur(), nn.Unfold(3))
    assert functional_convolutions(model, {"0", "1.make"}) == ("1 (PerInput: unfold)", "2 (Blur: conv2d)")
    plan = refconv.plan(model)
    words = "2 modules apply kernels of no convolution module, which are not refocused: 1 (PerInput: unfold), 2 (Blur"
    assert words in str(plan)
    assert Plan.from_json(plan.to_json()) == plan
    assert "no convolution module" not in str(refconv.plan(nn.Sequential(nn.Conv2d(3, 4, 3))))


class Repeated(nn.Conv2d):
    """One spatial kernel for all channels, expanded in the forward."""

    def __init__(self):
        super().__init__(4, 4, 3, padding=1, groups=4, bias=False)
        self.weight = nn.Parameter(torch.randn(1, 1, 3, 3))

    def forward(self, x):
        return F.conv2d(x, self.weight.expand(4, 1, 3, 3), padding=1, groups=4)


def test_a_kernel_that_a_subclass_expands_is_refocused_when_it_is_named():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), Repeated()).double()
    reason = "its weight has shape [1, 1, 3, 3] where [4, 1, 3, 3] was expected: only on request by its exact name"
    assert {row.layer: row.skipped for row in refconv.plan(model).skipped} == {"1": reason}
    x = torch.randn(2, 3, 8, 8, dtype=torch.float64)
    expected = model(x)
    plan = refconv.refocus(model, include=["1"])
    assert [row.shape for row in plan.refocused] == [(1, 1, 3, 3)]
    assert torch.equal(model(x), expected)
    with torch.no_grad():
        model[1].parametrizations.weight[0].refocus_weight.normal_()
    trained = model(x)
    refconv.merge(model)
    assert torch.equal(model(x), trained)
    assert not torch.allclose(trained, expected)
