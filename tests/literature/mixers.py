"""Blocks that mix positions: large depthwise kernels, gates, spectra, attention beside convolution, tokens."""

import torch
import torch.nn.functional as F
from torch import nn

from literature.life import Net, attend, collected, depthwise, head, residual, unit, window_mix

CASES, case = collected()


@case(2, 4)
def kernels_made_per_input():
    """A large static kernel looks, a small kernel made per position acts (LSNet)."""

    def mix(net, x):
        kernels = net.make(net.look(net.reduce(x)))
        return x + window_mix(x, kernels.view(len(x), 4, 9, -1), 3, groups=4)

    block = Net(mix, reduce=nn.Conv2d(16, 8, 1), look=depthwise(8, 7), make=nn.Conv2d(8, 36, 1))
    return nn.Sequential(unit(3, 16), block, head(16))


class DilatedBranches(nn.Module):
    """A 13 x 13 depthwise kernel with dilated branches beside it that fold into it (UniRepLKNet)."""

    BRANCHES = ((5, 1), (7, 2), (3, 3), (3, 5))

    def __init__(self, channels=6, size=13):
        super().__init__()
        self.large = nn.Sequential(
            nn.Conv2d(channels, channels, size, padding=size // 2, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
        )
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, k, padding=d * (k // 2), dilation=d, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
            )
            for k, d in self.BRANCHES
        )

    def forward(self, x):
        return self.large(x) + sum(branch(x) for branch in self.branches)

    @torch.no_grad()
    def folded(self):
        """Return one convolution with bias that does the same in eval mode."""
        size = self.large[0].kernel_size[0]
        kernel, bias = 0, 0
        for convolution, norm in (self.large, *self.branches):
            gain = norm.weight / (norm.running_var + norm.eps).sqrt()
            (k, _), (d, _) = convolution.kernel_size, convolution.dilation
            spread = torch.zeros_like(self.large[0].weight)
            edge = (size - (d * (k - 1) + 1)) // 2
            spread[..., edge : size - edge : d, edge : size - edge : d] = convolution.weight
            kernel = kernel + gain[:, None, None, None] * spread
            bias = bias + norm.bias - norm.running_mean * gain
        one = depthwise(len(bias), size).to(kernel.dtype)
        one.weight.copy_(kernel)
        one.bias.copy_(bias)
        return one


@case(6, 6)
def dilated_branches():
    return nn.Sequential(unit(3, 6), DilatedBranches(), head(6))


@case(5, 10)
def additive_attention():
    """Queries and keys are gated in space and over channels and added (CAS-ViT)."""

    def gates(c):
        space = nn.Sequential(depthwise(c), nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, 1, 1), nn.Sigmoid())
        channels = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(c, c, 1, groups=c), nn.Sigmoid())
        return Net(lambda net, x: x * net.space(x) * net.channels(x), space=space, channels=channels)

    def mix(net, x):
        q, k, v = net.qkv(x).chunk(3, 1)
        return x + net.out(net.mix(net.query(q) + net.key(k)) * v)

    block = Net(mix, qkv=nn.Conv2d(12, 36, 1), query=gates(12), key=gates(12), mix=depthwise(12), out=depthwise(12))
    return nn.Sequential(unit(3, 12, stride=2), block, head(12))


@case(4, 5)
def dilated_orders():
    """Depthwise kernels of several dilations see the halves of the channels (SpaRTAN)."""

    def mix(net, x):
        y = net.first(x)
        a, b = y.chunk(2, 1)
        return x + net.out(torch.cat([net.second(a), net.third(b)], 1) * y.sigmoid())

    block = Net(
        mix, first=depthwise(12, 5), second=depthwise(6, 5, 2), third=depthwise(6, 7, 3), out=nn.Conv2d(12, 12, 1)
    )
    return nn.Sequential(unit(3, 12), block, head(12))


@case(2, 3)
def grid_and_slots():
    """A depthwise kernel on the grid, attention between a few slots, both joined (GLMix)."""

    def mix(net, x):
        tokens = x.flatten(2).transpose(1, 2)
        slots = F.adaptive_avg_pool2d(x, 2).flatten(2).transpose(1, 2)
        share = (slots @ tokens.transpose(1, 2)).softmax(-1)
        slots = net.attention(*[share @ tokens] * 3)[0]
        spread = (share.transpose(1, 2) @ slots).transpose(1, 2).reshape(x.shape)
        return x + net.out(torch.cat([net.grid(x), spread], 1))

    block = Net(
        mix, grid=depthwise(12, 5), attention=nn.MultiheadAttention(12, 2, batch_first=True), out=nn.Conv2d(24, 12, 1)
    )
    return nn.Sequential(unit(3, 12), block, head(12))


@case(2, 6)
def recursive_gates():
    """One 7 x 7 depthwise kernel, products of growing width (HorNet)."""

    def mix(net, x):
        gate, rest = net.enter(x).split([4, 28], 1)
        first, second, third = (net.spatial(rest) / 3).split([4, 8, 16], 1)
        return x + net.leave(net.wide(net.narrow(gate * first) * second) * third)

    block = Net(
        mix,
        enter=nn.Conv2d(16, 32, 1),
        spatial=depthwise(28, 7),
        narrow=nn.Conv2d(4, 8, 1),
        wide=nn.Conv2d(8, 16, 1),
        leave=nn.Conv2d(16, 16, 1),
    )
    return nn.Sequential(unit(3, 16), block, head(16))


def spectral(weigh):
    """Return a block whose depthwise result is weighed in the frequencies of the image."""

    def mix(net, x):
        y = net.spatial(x)
        return x + net.out(torch.fft.irfft2(torch.fft.rfft2(y) * weigh(net, y), s=y.shape[-2:]))

    return mix


@case(2, 3)
def spectral_pooling():
    """Low and high frequencies are balanced by a learned number (SPANet)."""

    def weigh(net, y):
        low = torch.zeros(y.shape[-2], y.shape[-1] // 2 + 1, dtype=y.dtype)
        low[:3, :3], low[-2:, :3] = 1, 1
        return net.balance * low + (1 - net.balance) * (1 - low)

    block = Net(
        spectral(weigh), spatial=depthwise(12, 7), out=nn.Conv2d(12, 12, 1), balance=nn.Parameter(torch.tensor(0.7))
    )
    return nn.Sequential(unit(3, 12), block, head(12))


@case(2, 4)
def filters_per_input_in_the_spectrum():
    """Global filters that depend on the image act in the spectrum (adaptive frequency filters)."""

    def weigh(net, y):
        return net.filter(torch.fft.rfft2(y).abs())

    block = Net(spectral(weigh), spatial=depthwise(12), out=nn.Conv2d(12, 12, 1), filter=nn.Conv2d(12, 12, 1))
    return nn.Sequential(unit(3, 12), block, head(12))


@case(4, 6)
def convolution_then_attention():
    """Depthwise mixing early, attention late, positions by depthwise kernels (UniFormer, MOAT)."""
    early = residual(nn.BatchNorm2d(12), nn.Conv2d(12, 12, 1), depthwise(12, 5), nn.Conv2d(12, 12, 1))
    return nn.Sequential(
        nn.Conv2d(3, 12, 4, 2, 1), residual(depthwise(12)), early, residual(depthwise(12)), attend(12), head(12)
    )


@case(3, 3, (2, 3, 4, 8, 8))
def video_convolution_then_attention():
    """The same in three dimensions."""
    local = nn.Conv3d(8, 8, 3, padding=1, groups=8)
    middle = nn.Conv3d(8, 8, (3, 1, 1), padding=(1, 0, 0), groups=8)
    stem = nn.Conv3d(3, 8, (3, 4, 4), (2, 4, 4), (1, 0, 0))
    return nn.Sequential(stem, residual(local), residual(nn.BatchNorm3d(8), middle), attend(8), head(8))


@case(4, 4)
def convolutional_projections():
    """Queries, keys and values are projected by depthwise kernels with strides (CvT)."""

    def mix(net, x):
        q, k, v = (part(x).flatten(2).transpose(1, 2) for part in (net.query, net.key, net.value))
        return x + net.attention(q, k, v)[0].transpose(1, 2).reshape(x.shape)

    def strided():
        return nn.Conv2d(12, 12, 3, 2, 1, groups=12)

    block = Net(
        mix,
        query=depthwise(12),
        key=strided(),
        value=strided(),
        attention=nn.MultiheadAttention(12, 2, batch_first=True),
    )
    return nn.Sequential(nn.Conv2d(3, 12, 7, 4, 2), block, head(12))


@case(3, 5)
def attention_pooling():
    """An isotropic stack of depthwise blocks, pooled by attention (PatchConvNet)."""

    def pool(net, x):
        tokens = x.flatten(2).transpose(1, 2)
        share = (tokens @ net.query).softmax(1)
        return net.linear((share * tokens).sum(1))

    trunk = residual(nn.GroupNorm(1, 12), nn.Conv2d(12, 12, 1), nn.GELU(), depthwise(12), nn.Conv2d(12, 12, 1))
    last = Net(pool, query=nn.Parameter(torch.randn(12, 1)), linear=nn.Linear(12, 5))
    return nn.Sequential(unit(3, 8, stride=2), unit(8, 12, stride=2), trunk, last)


@case(3, 3)
def tokens_of_a_convolutional_stem():
    """A ResNet stage makes visual tokens for a transformer (Visual Transformers, pattern tokens, DETR)."""
    layer = nn.TransformerEncoderLayer(12, 2, 24, dropout=0.0, batch_first=True)
    tokens = Net(lambda net, x: net.layer(x.flatten(2).mT).mT, layer=layer)
    return nn.Sequential(unit(3, 12, stride=2), residual(unit(12, 12), unit(12, 12)), tokens, head(12))


@case(3, 6, (2, 2, 8, 8), (2,), (2, 4))
def diffusion_blocks():
    """Time and class shift and scale the normalised input of a depthwise block (DiCo)."""

    def run(net, x, time, condition):
        steps = time[:, None] * torch.arange(1, 5, dtype=x.dtype)
        shift, scale, gate = net.modulate(torch.cat([steps.sin(), condition], 1))[..., None, None].chunk(3, 1)
        h = net.enter(x)
        y = F.gelu(net.spatial(net.expand(F.group_norm(h, 1) * (1 + scale) + shift)))
        return net.leave(h + gate * net.project(y * net.attend(y)))

    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(12, 12, 1), nn.Sigmoid())
    return Net(
        run,
        enter=nn.Conv2d(2, 12, 3, padding=1),
        modulate=nn.Linear(8, 36),
        expand=nn.Conv2d(12, 12, 1),
        spatial=depthwise(12),
        attend=gate,
        project=nn.Conv2d(12, 12, 1),
        leave=nn.Conv2d(12, 2, 3, padding=1),
    )


@case(3, 5, (2, 3, 9, 9))
def large_kernel_upscaling():
    """Large depthwise kernels before a shuffle of pixels, in any magnification (ConvFormer-based CFSR)."""
    trunk = residual(nn.Conv2d(12, 12, 1), nn.GELU(), depthwise(12, 9), nn.Conv2d(12, 12, 1))
    return nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), trunk, nn.Conv2d(12, 27, 3, padding=1), nn.PixelShuffle(3))


@case(3, 6)
def band_kernels():
    """1 x 11, 11 x 1 and 3 x 3 kernels on parts of the channels (InceptionNeXt), Inception's 1 x 7 among them."""

    def mix(net, x):
        same, square, wide, tall = x.split([6, 2, 2, 2], 1)
        return torch.cat([same, net.square(square), net.wide(wide), net.tall(tall)], 1)

    block = Net(
        mix,
        square=depthwise(2),
        wide=nn.Conv2d(2, 2, (1, 11), padding=(0, 5), groups=2),
        tall=nn.Conv2d(2, 2, (11, 1), padding=(5, 0), groups=2),
    )
    return nn.Sequential(nn.Conv2d(3, 12, 1), block, nn.Conv2d(12, 12, 1), nn.GELU(), nn.Conv2d(12, 12, 1), head(12))


@case(3, 4)
def attention_with_few_convolutions():
    """Windows of attention between a first and a last convolution (SUNet, SwinIR); the plan says how little it is."""
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1),
        attend(12),
        nn.Conv2d(12, 48, 1),
        nn.PixelShuffle(2),
        nn.Conv2d(12, 12, 3, 2, 1),
        attend(12),
        nn.Conv2d(12, 3, 3, padding=1),
    )


@case(5, 9)
def transposed_attention():
    """Attention between channels and a gated step, both with depthwise kernels and no bias (Restormer)."""

    def mix(net, x):
        q, k, v = net.spatial(net.qkv(x)).flatten(2).chunk(3, 1)
        share = (F.normalize(q, dim=-1) @ F.normalize(k, dim=-1).mT).softmax(-1)
        x = x + net.out((share @ v).view_as(x))
        a, b = net.gated(net.expand(x)).chunk(2, 1)
        return x + net.last(F.gelu(a) * b)

    def bare(i, o, k=1, groups=1):
        return nn.Conv2d(i, o, k, padding=k // 2, groups=groups, bias=False)

    def block():
        return Net(
            mix,
            qkv=bare(8, 24),
            spatial=bare(24, 24, 3, 24),
            out=bare(8, 8, 3),
            expand=nn.Conv2d(8, 16, 1, bias=False),
            gated=bare(16, 16, 3, 16),
            last=bare(8, 8),
        )

    return nn.Sequential(bare(3, 8, 3), block(), nn.Conv2d(8, 8, 1), bare(8, 3, 3))
