"""Blocks of plain ConvNets: stacks, groups, strides, gates, normalisations, kernels that are used several times."""

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from literature.life import Net, collected, depthwise, head, residual, unit

CASES, case = collected()


@case(5, 5)
def plain_stack():
    """3 x 3 convolutions, batch norm, pooling, dropout (SimpleNet, VGG, enhanced CNNs)."""
    return nn.Sequential(
        unit(3, 8), unit(8, 12), nn.MaxPool2d(2), unit(12, 12), nn.Dropout(0.1), unit(12, 16), unit(16, 16), head(16)
    )


@case(4, 6)
def strides_in_place_of_pooling():
    """Nothing but convolutions (the all-convolutional net)."""
    return nn.Sequential(
        nn.Dropout(0.2),
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, 2, 1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 1),
        nn.ReLU(),
        nn.Conv2d(12, 5, 1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    )


@case(3, 6)
def pointwise_networks_between():
    """1 x 1 convolutions after spatial ones (Network in Network)."""
    parts = [unit(3, 12, 5), unit(12, 8, 1), unit(8, 12, 1), unit(12, 12, 5), unit(12, 12, 1), nn.Conv2d(12, 5, 3)]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten())


@case(3, 7)
def grouped_first():
    """Groups of one size, whose number varies from layer to layer (ConvFirst, E2GC)."""

    def block(c):
        return residual(
            nn.Conv2d(c, c, 3, padding=1, groups=c // 4), nn.Conv2d(c, 2 * c, 1), nn.ReLU(), nn.Conv2d(2 * c, c, 1)
        )

    return nn.Sequential(unit(3, 8), block(8), nn.ConstantPad3d((0, 0, 0, 0, 0, 8), 0), block(16), head(16))


@case(3, 3)
def space_to_depth():
    """Pixels are folded into channels before a convolution of stride one (SPD-Conv)."""
    return nn.Sequential(
        unit(3, 6), nn.PixelUnshuffle(2), unit(24, 12, act=nn.ReLU), nn.PixelUnshuffle(2), unit(48, 16), head(16)
    )


@case(3, 3)
def instance_and_batch_norm():
    """Half of the channels are normalised per image (IBN-Net)."""

    class Half(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.instance = nn.InstanceNorm2d(channels // 2, affine=True)
            self.batch = nn.BatchNorm2d(channels - channels // 2)

        def forward(self, x):
            a, b = x.split([self.instance.num_features, self.batch.num_features], 1)
            return torch.cat([self.instance(a), self.batch(b)], 1)

    return nn.Sequential(unit(3, 12, norm=Half), residual(unit(12, 12, norm=Half), unit(12, 12)), head(12))


@case(4, 4)
def gather_and_excite():
    """Strided depthwise kernels gather a context that gates the input (GE-theta)."""
    gather = nn.Sequential(*[unit(12, 12, stride=2, groups=12, act=nn.Identity) for _ in range(2)])

    def excite(net, x):
        return x * F.interpolate(net.gather(x), x.shape[-2:]).sigmoid()

    return nn.Sequential(unit(3, 12), Net(excite, gather=gather), unit(12, 16), head(16))


@case(2, 2)
def aggregated_excitation():
    """Several linear layers squeeze the channels (SENetV2)."""

    def excite(net, x):
        return x * net.out(torch.cat([part(x.mean((2, 3))).relu() for part in net.parts], 1)).sigmoid()[..., None, None]

    gate = Net(excite, parts=nn.ModuleList(nn.Linear(12, 3) for _ in range(4)), out=nn.Linear(12, 12))
    return nn.Sequential(unit(3, 12), gate, unit(12, 12), head(12))


@case(3, 5)
def channel_and_spatial_gates():
    """Gates from pooled channels and from a 7 x 7 kernel over two maps (CBAM), the latter refocused like any other."""

    def gate(net, x):
        x = x * (net.channel(x.mean((2, 3), True)) + net.channel(x.amax((2, 3), True))).sigmoid()
        return x * net.spatial(torch.cat([x.mean(1, True), x.amax(1, True)], 1)).sigmoid()

    channel = nn.Sequential(nn.Conv2d(12, 3, 1), nn.ReLU(), nn.Conv2d(3, 12, 1))
    block = Net(gate, channel=channel, spatial=nn.Conv2d(2, 1, 7, padding=3))
    return nn.Sequential(unit(3, 12), block, unit(12, 12), head(12))


@case(1, 2, exclude="1.line")
def channel_attention_left_out():
    """A convolution over channels (ECA) is left out by name."""

    def gate(net, x):
        return x * net.line(x.mean((2, 3))[:, None]).sigmoid().transpose(1, 2)[..., None]

    return nn.Sequential(unit(3, 12), Net(gate, line=nn.Conv1d(1, 1, 3, padding=1, bias=False)), head(12))


class Reversible(torch.autograd.Function):
    """y = x + f(.), both halves in turn; the backward pass computes the inputs anew from the outputs."""

    @staticmethod
    def forward(ctx, f, g, a, b, *parameters):
        with torch.no_grad():
            a = a + f(b)
            b = b + g(a)
        ctx.parts = f, g
        ctx.save_for_backward(a, b)
        return a, b

    @staticmethod
    def backward(ctx, da, db):
        (f, g), (a, b) = ctx.parts, ctx.saved_tensors
        with torch.enable_grad():
            a = a.detach().requires_grad_()
            inner = g(a)
            inner.backward(db)
        da, b = da + a.grad, (b - inner).detach().requires_grad_()
        with torch.enable_grad():
            f(b).backward(da)
        return None, None, da, db + b.grad, *[None] * (len(ctx.needs_input_grad) - 4)


@case(3, 7)
def reversible_columns():
    """Activations are computed anew in the backward pass (RevCol): the kernel must be the same both times."""

    def part():
        return nn.Sequential(depthwise(6, 7), nn.GroupNorm(1, 6), nn.Conv2d(6, 12, 1), nn.GELU(), nn.Conv2d(12, 6, 1))

    def run(net, x):
        a, b = x.chunk(2, 1)
        if torch.is_grad_enabled():
            return torch.cat(Reversible.apply(net.f, net.g, a, b, *net.f.parameters(), *net.g.parameters()), 1)
        a = a + net.f(b)
        return torch.cat([a, b + net.g(a)], 1)

    return nn.Sequential(unit(3, 12), Net(run, f=part(), g=part()), head(12))


@case(3, 3)
def densely_connected_and_recomputed():
    """Narrow convolutions on everything before them, activations recomputed (memory-efficient DenseNet)."""

    def grow(net, x):
        def layer(*maps):
            return net.convolution(net.norm(torch.cat(maps, 1)).relu())

        return torch.cat([x, checkpoint(layer, x, use_reentrant=False)], 1)

    def layer(c):
        return Net(grow, norm=nn.BatchNorm2d(c), convolution=nn.Conv2d(c, 4, 3, padding=1, bias=False))

    return nn.Sequential(unit(3, 8), layer(8), layer(12), head(16))


@case(2, 2)
def low_pass_filters_in_buffers():
    """Fixed low-pass filters are buffers, activations polynomials (alias-free ConvNets): only kernels refocus."""

    class Blur(nn.Module):
        def __init__(self, channels):
            super().__init__()
            line = torch.tensor([1.0, 3, 3, 1]) / 8
            self.register_buffer("kernel", torch.outer(line, line).expand(channels, 1, 4, 4).clone())

        def forward(self, x):
            x = F.pad(x, (1, 2, 1, 2), mode="circular")
            return F.conv2d(x, self.kernel, stride=2, groups=len(self.kernel))

    def polynomial():
        return Net(
            lambda net, x: net.a[0] + net.a[1] * x + net.a[2] * x**2, a=nn.Parameter(torch.tensor([0.1, 0.5, 0.1]))
        )

    circular = nn.Conv2d(3, 8, 3, padding=1, padding_mode="circular")
    return nn.Sequential(circular, nn.BatchNorm2d(8), polynomial(), Blur(8), unit(8, 12, act=polynomial), head(12))


@case(2, 2, (2, 3, 32))
def causal_dilated_signals():
    """One-dimensional kernels, dilated, padded on the left outside of the convolution (TCN, TCNCA)."""

    def causal(i, o, dilation):
        return nn.Sequential(
            nn.ConstantPad1d((2 * dilation, 0), 0), nn.Conv1d(i, o, 3, dilation=dilation), nn.BatchNorm1d(o), nn.ReLU()
        )

    return nn.Sequential(causal(3, 8, 1), causal(8, 8, 4), head(8))


@case(2, 3)
def channels_folded_into_the_batch():
    """One kernel of one channel sees all channels, without padding (ConvShareViT)."""

    def each(net, x):
        y = net.one(x.flatten(0, 1)[:, None])
        return y.view(*x.shape[:2], *y.shape[-2:])

    return nn.Sequential(unit(3, 8), Net(each, one=nn.Conv2d(1, 1, 3)), nn.Conv2d(8, 8, 1), head(8))


@case(3, 3)
def one_kernel_in_two_places():
    """Two depthwise convolutions hold one parameter (tied kernels)."""

    def run(net, x):
        return net.second(net.first(x).relu())

    block = Net(run, first=depthwise(6), second=depthwise(6, dilation=2))
    block.second.weight = block.first.weight
    return nn.Sequential(unit(3, 6), block, head(6))


@case(2, 2)
def slices_in_turn():
    """A convolution carries messages from row to row, in both directions (Spatial CNN)."""

    def sweep(net, x):
        rows = list(x.unbind(2))
        for line in (range(1, len(rows)), range(len(rows) - 2, -1, -1)):
            for i in line:
                rows[i] = rows[i] + 0.1 * net.row(rows[i - line.step]).relu()
        return torch.stack(rows, 2)

    return nn.Sequential(unit(3, 6), Net(sweep, row=nn.Conv1d(6, 6, 5, padding=2, bias=False)), head(6))


@case(3, 4)
def companion_losses():
    """Hidden layers have classifiers of their own (deeply supervised nets)."""

    def run(net, x):
        a = net.first(x)
        b = net.second(a)
        return {"last": net.last(net.third(b)), "hidden": [net.one(a), net.two(b)]}

    last = nn.Sequential(nn.Conv2d(8, 5, 1), nn.AdaptiveAvgPool2d(1))
    return Net(run, first=unit(3, 8), second=unit(8, 8), third=unit(8, 8), one=head(8), two=head(8), last=last)


@case(4, 4, (3, 3, 11, 17))
def trunk_of_any_size():
    """An AlexNet-like trunk runs at any size (DenseNet descriptor pyramids, R-CNN)."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(8, 12, 5, padding=2, groups=2),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(12, 12, 3, padding=1, groups=2),
    )


@case(4, 5)
def irregular_channels():
    """Channel counts as pruning leaves them."""
    return nn.Sequential(unit(3, 7), unit(7, 11), unit(11, 13, 1), unit(13, 5), unit(5, 9), head(9))


@case(4, 4)
def masks_per_input():
    """Channels are switched on and off per image by a small predictor (dynamic pruning)."""

    def gate(net, x):
        soft = net.predict(x.mean((2, 3))).sigmoid()
        return net.branch(x) * ((soft > 0.5).to(x) + soft - soft.detach())[..., None, None]

    def block():
        return Net(gate, predict=nn.Linear(8, 8), branch=unit(8, 8))

    return nn.Sequential(unit(3, 8), block(), block(), unit(8, 8), head(8))
