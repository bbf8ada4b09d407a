"""Convolutions of other kinds: generated and mixed kernels, offsets, ratios, expansions, experts, long filters."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from literature.life import Net, collected, depthwise, head, unit, window_mix

CASES, case = collected()


@case(3, 3)
def ratio_of_convolutions():
    """A numerator and a denominator, each with a kernel of its own (Padé neurons)."""

    def run(net, x):
        return net.above(x) / (1 + net.below(x).abs())

    block = Net(run, above=nn.Conv2d(8, 8, 3, padding=1), below=nn.Conv2d(8, 8, 3, padding=1))
    return nn.Sequential(unit(3, 8), block, head(8))


@case(4, 4)
def expansions_before_convolutions():
    """Polynomials of the input, each with a convolution (Kolmogorov-Arnold convolutions)."""

    def run(net, x):
        x = x.tanh()
        return net.base(x) + sum(part(p) for part, p in zip(net.parts, (2 * x**2 - 1, 4 * x**3 - 3 * x), strict=True))

    def convolution():
        return nn.Conv2d(6, 6, 3, padding=1, bias=False)

    block = Net(run, base=convolution(), parts=nn.ModuleList(convolution() for _ in range(2)))
    return nn.Sequential(unit(3, 6), block, head(6))


@case(5, 6)
def experts_behind_a_gate():
    """A gate chooses one expert per image (mixtures of experts); unused experts get no gradient."""

    def run(net, x):
        share = net.gate(x.mean((2, 3))).softmax(1)
        best = share.argmax(1)
        return torch.stack([share[i, k] * net.experts[k](x[i : i + 1])[0] for i, k in enumerate(best.tolist())])

    block = Net(run, gate=nn.Linear(6, 4), experts=nn.ModuleList(nn.Conv2d(6, 6, 3, padding=1) for _ in range(4)))
    return nn.Sequential(unit(3, 6), block, nn.Conv2d(6, 6, 1), head(6))


@case(1, 2)
def weights_from_the_input_alone():
    """Aggregation weights come from the pixels themselves; only the stem has a kernel (local relation networks)."""

    def run(net, x):
        kernels = net.relate(x).view(len(x), 3, 9, -1).softmax(2)
        return window_mix(x, kernels, 3, groups=2)

    return nn.Sequential(unit(3, 6), Net(run, relate=nn.Conv2d(6, 27, 1)), head(6))


@case(2, 3)
def kernels_predicted_per_pixel():
    """A network predicts a kernel for every pixel (kernel prediction for inpainting): its own kernels refocus."""

    def run(net, x):
        return window_mix(x, net.predict(x).view(len(x), 3, 9, -1).softmax(2), 3, groups=1)

    return Net(run, predict=nn.Sequential(unit(3, 8), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 27, 3, padding=1)))


@case(2, 4)
def sampled_at_offsets():
    """Positions and weights are predicted by a depthwise kernel, values are sampled there (DCNv3)."""

    def run(net, x):
        found = net.look(x)
        moves, share = net.offset(found).tanh(), net.weight(found).softmax(1)
        rows = torch.linspace(-1, 1, x.shape[-2], dtype=x.dtype)
        columns = torch.linspace(-1, 1, x.shape[-1], dtype=x.dtype)
        grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)
        points = moves.view(len(x), 4, 2, *x.shape[-2:]).permute(1, 0, 3, 4, 2)
        sampled = [F.grid_sample(x, grid + 0.2 * at, align_corners=True) for at in points]
        return x + sum(share[:, k : k + 1] * value for k, value in enumerate(sampled))

    block = Net(run, look=depthwise(6), offset=nn.Conv2d(6, 8, 1), weight=nn.Conv2d(6, 4, 1))
    return nn.Sequential(unit(3, 6), block, head(6))


@case(4, 5, include=["dense", "depthwise", "deformable"])
def deformable_on_request():
    """A deformable convolution has a static kernel, refocused when it is asked for (DCNv2, DAS)."""
    operators = pytest.importorskip("torchvision.ops")

    def run(net, x):
        return x * net.deform(net.squeeze(x), net.offsets(x)).sigmoid()

    block = Net(
        run,
        squeeze=nn.Sequential(depthwise(6), nn.Conv2d(6, 6, 1)),
        offsets=nn.Conv2d(6, 18, 3, padding=1),
        deform=operators.DeformConv2d(6, 6, 3, padding=1),
    )
    return nn.Sequential(unit(3, 6), block, head(6))


@case(2, 3, (2, 1, 40))
def long_filters():
    """Depthwise filters as long as the signal (Hyena after its filters are made, filter-enhanced MLPs)."""
    long = nn.Conv1d(6, 6, 33, groups=6)
    circular = nn.Conv1d(6, 6, 9, padding=4, padding_mode="circular", groups=6)
    return nn.Sequential(nn.Conv1d(1, 6, 1), nn.ConstantPad1d((32, 0), 0), long, nn.GELU(), circular, head(6))


@case(4, 4)
def real_and_imaginary_parts():
    """A complex convolution as two real ones, used twice each (complex-valued CNNs)."""

    def run(net, pair):
        re, im = pair
        a, b = net.re(re) - net.im(im), net.re(im) + net.im(re)
        return a.relu(), b.relu()

    def layer(i, o):
        return Net(run, re=nn.Conv2d(i, o, 3, padding=1, bias=False), im=nn.Conv2d(i, o, 3, padding=1, bias=False))

    split = Net(lambda net, x: (x[:, :2], x[:, 1:]))
    size = Net(lambda net, pair: torch.complex(*pair).abs())
    return nn.Sequential(split, layer(2, 6), layer(6, 6), size, head(6))


class Binary(torch.autograd.Function):
    """The sign of every entry times the mean size of its filter; gradients pass through."""

    @staticmethod
    def forward(ctx, w):
        return w.sign() * w.abs().mean((1, 2, 3), keepdim=True)

    @staticmethod
    def backward(ctx, gradient):
        return gradient


@case(3, 3)
def binary_kernels():
    """A subclass binarises its kernel in the forward pass (XNOR-Net): it binarises what refocusing gives."""

    class BinaryConv2d(nn.Conv2d):
        def forward(self, x):
            return self._conv_forward(x, Binary.apply(self.weight), self.bias)

    return nn.Sequential(
        unit(3, 6), BinaryConv2d(6, 8, 3, padding=1), BinaryConv2d(8, 8, 3, padding=1, groups=2), head(8)
    )


@case(3, 3)
def masks_in_the_forward():
    """A subclass masks its channels in the forward pass, with a gradient past the mask (soft masking)."""

    class Masked(nn.Conv2d):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.register_buffer("mask", (torch.arange(self.out_channels) % 3 > 0).float()[:, None, None, None])

        def forward(self, x):
            return self._conv_forward(x, self.weight + (self.weight * self.mask - self.weight).detach(), self.bias)

    return nn.Sequential(unit(3, 6), Masked(6, 8, 3, padding=1), Masked(8, 8, 3, padding=1, groups=2), head(8))


@case(2, 2)
def a_subclass_that_masks_its_input():
    """Convolutions on the visible positions only (SparK's masked pretraining)."""

    class Visible(nn.Conv2d):
        def forward(self, x):
            seen = (x.abs().sum(1, keepdim=True) > 1).to(x)
            return super().forward(x * seen) * F.max_pool2d(seen, 3, self.stride, 1)

    return nn.Sequential(Visible(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), Visible(8, 12, 3, padding=1), head(12))


class Filtered(torch.autograd.Function):
    """A convolution whose gradients are averaged over 2 x 2 positions (gradient filtering)."""

    @staticmethod
    def forward(ctx, x, w):
        ctx.save_for_backward(x, w)
        return F.conv2d(x, w, padding=1)

    @staticmethod
    def backward(ctx, gradient):
        x, w = ctx.saved_tensors
        gradient = F.interpolate(F.avg_pool2d(gradient, 2), scale_factor=2)
        dx = torch.nn.grad.conv2d_input(x.shape, w, gradient, padding=1)
        return dx, torch.nn.grad.conv2d_weight(x, w.shape, gradient, padding=1)


@case(2, 2)
def filtered_gradients():
    """The backward pass of a convolution is approximated by the user's own function."""

    class FilteredConv2d(nn.Conv2d):
        def forward(self, x):
            return Filtered.apply(x, self.weight)

    return nn.Sequential(unit(3, 6), FilteredConv2d(6, 6, 3, padding=1, bias=False), head(6))
