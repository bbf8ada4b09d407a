"""Networks of tasks: restoration, volumes, sound, text, necks and heads, several trunks, embeddings."""

import torch
import torch.nn.functional as F
from torch import nn

from literature.life import Net, attend, collected, depthwise, head, residual, unit

CASES, case = collected()


def convolution(i, o, size=3, stride=1, dilation=1, **more):
    return nn.Conv2d(i, o, size, stride, dilation * (size // 2), dilation, **more)


def upscaled(i, o):
    return nn.ConvTranspose2d(i, o, 4, 2, 1)


@case(5, 7)
def information_distillation():
    """Each step keeps a part of its channels and refines the rest (IMDN)."""

    def run(net, x):
        kept, rest = [], net.enter(x)
        for step in net.steps:
            part, rest = F.leaky_relu(step(rest), 0.05).split([3, 9], 1)
            kept.append(part)
        return net.up(net.leave(net.join(torch.cat([*kept, rest[:, :3]], 1))))

    steps = [convolution(12, 12), convolution(9, 12), convolution(9, 12)]
    gate = Net(lambda net, x: x * net.weigh(x.std((2, 3), keepdim=True)).sigmoid(), weigh=nn.Conv2d(12, 12, 1))
    join = nn.Sequential(nn.Conv2d(12, 12, 1), gate)
    return Net(
        run,
        enter=convolution(3, 12),
        steps=nn.ModuleList(steps),
        join=join,
        leave=convolution(12, 12),
        up=nn.PixelShuffle(2),
    )


@case(4, 4)
def shuffled_pixels():
    """The last kernels feed positions of a larger image (ESPCN)."""
    return nn.Sequential(
        convolution(3, 8, 5),
        nn.Tanh(),
        convolution(8, 8),
        nn.Tanh(),
        convolution(8, 27),
        nn.PixelShuffle(3),
        convolution(3, 3),
    )


@case(4, 4, (2, 3, 16, 16), (2, 6))
def style_moves_the_statistics():
    """Instance norms shifted by a style vector (removing filters, styling images)."""

    def run(net, x, style):
        scale, shift = net.style(style)[..., None, None].chunk(2, 1)
        y = F.instance_norm(net.enter(x)) * (1 + scale) + shift
        return net.leave(net.up(net.down(y.relu()).relu()).relu())

    return Net(
        run,
        style=nn.Linear(6, 16),
        enter=convolution(3, 8, padding_mode="reflect"),
        down=convolution(8, 12, stride=2),
        up=upscaled(12, 8),
        leave=convolution(8, 3, 5),
    )


@case(6, 6)
def noise_estimated_first():
    """A small network estimates the noise, a U-Net removes it, both trained together (CBDNet)."""

    def run(net, x):
        noise = net.estimate(x)
        skip = net.enter(torch.cat([x, noise], 1)).relu()
        return x - net.leave(skip + net.up(net.down(skip).relu())), noise

    estimate = nn.Sequential(convolution(3, 6), nn.ReLU(), convolution(6, 3))
    return Net(
        run,
        estimate=estimate,
        enter=convolution(6, 8),
        down=convolution(8, 12, stride=2),
        up=upscaled(12, 8),
        leave=convolution(8, 3),
    )


@case(5, 5)
def holes_are_filled():
    """Dilated and transposed kernels of an encoder and decoder (inpainting, context encoders)."""
    return nn.Sequential(
        convolution(3, 8, stride=2), nn.ELU(), convolution(8, 8, dilation=2), nn.ELU(), convolution(8, 8, dilation=4),
        nn.ELU(), upscaled(8, 8), nn.ELU(), convolution(8, 3),
    )  # fmt: skip


@case(2, 4, exclude="transposed")
def encoder_alone():
    """The decoder of a pretraining task stays as it is (context encoders)."""
    return nn.Sequential(
        convolution(3, 8, stride=2),
        nn.ReLU(),
        convolution(8, 12, stride=2),
        nn.ReLU(),
        upscaled(12, 8),
        nn.ReLU(),
        upscaled(8, 3),
    )


@case(2, 4, (2, 4, 16, 16), include="isp.*")
def camera_pipeline_before_a_classifier():
    """Raw pixels of four channels are developed by a network before a frozen classifier."""
    isp = nn.Sequential(convolution(4, 8), nn.ReLU(), convolution(8, 12), nn.PixelShuffle(2))
    classifier = nn.Sequential(unit(3, 8), unit(8, 8), head(8)).requires_grad_(False)
    for norm in classifier.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.momentum = 0.0
    return Net(lambda net, x: net.classifier(net.isp(x)), isp=isp, classifier=classifier)


@case(2, 2)
def arguments_of_filters():
    """A small network predicts the arguments of differentiable image filters (RSFNet, WISE)."""

    def run(net, x):
        gain, gamma = net.predict(x)[..., None, None].chunk(2, 1)
        return gain.exp() * (x.sigmoid() ** (1 + 0.1 * gamma.tanh()))

    return Net(run, predict=nn.Sequential(unit(3, 8, stride=2), unit(8, 8, stride=2), head(8, 6)))


@case(5, 5)
def hourglass():
    """An untrained hourglass is fitted to one image (deep image prior)."""
    inner = nn.Sequential(unit(8, 8, stride=2), unit(8, 8), nn.Upsample(scale_factor=2, mode="bilinear"))
    return nn.Sequential(unit(3, 8), residual(inner), unit(8, 8), convolution(8, 3), nn.Sigmoid())


@case(5, 6, (1, 2, 6, 8, 8))
def volumes_with_an_attention_gate():
    """Volumes: convolutions down, transposed ones up, a gate on the skip connection (echocardiography, airways)."""

    def run(net, x):
        skip = net.enter(x)
        low = net.inner(net.down(skip))
        up = net.up(low)
        return net.leave(torch.cat([up, skip * net.gate(up + skip).sigmoid()], 1))

    def norm(c):
        return nn.Sequential(nn.InstanceNorm3d(c, affine=True), nn.LeakyReLU(0.1))

    return Net(
        run,
        enter=nn.Sequential(nn.Conv3d(2, 4, 3, padding=1), norm(4)),
        down=nn.Sequential(nn.Conv3d(4, 8, 3, 2, 1), norm(8)),
        inner=nn.Sequential(nn.Conv3d(8, 8, 3, padding=1), nn.GroupNorm(2, 8)),
        up=nn.ConvTranspose3d(8, 4, 2, 2, groups=2),
        gate=nn.Conv3d(4, 1, 1),
        leave=nn.Conv3d(8, 1, 3, padding=1),
    )


@case(4, 4)
def images_become_voxels():
    """An image encoder and a decoder of transposed volumes (single-view reconstruction)."""

    def run(net, x):
        code = net.encode(x)
        return net.decode(code[..., None, None, None])

    decode = nn.Sequential(
        nn.ConvTranspose3d(8, 6, 4),
        nn.ReLU(),
        nn.ConvTranspose3d(6, 4, 4, 2, 1),
        nn.ReLU(),
        nn.Conv3d(4, 1, 3, padding=1),
    )
    return Net(run, encode=nn.Sequential(unit(3, 8, stride=4), head(8, 8)), decode=decode)


@case(4, 6, (2, 1, 81))
def samples_of_waveforms():
    """Strides as long as kernels, on raw samples; residual and squeeze-and-excitation blocks (SampleCNN)."""

    def squeeze(net, x):
        return x * net.weigh(x.mean(2, keepdim=True)).sigmoid()

    block = residual(
        nn.Conv1d(8, 8, 3, padding=1),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        Net(squeeze, weigh=nn.Conv1d(8, 8, 1)),
        nn.Conv1d(8, 8, 1),
    )
    return nn.Sequential(
        nn.Conv1d(1, 6, 3, 3), nn.ReLU(), nn.Conv1d(6, 8, 3, 3), nn.ReLU(), block, nn.Conv1d(8, 8, 2, 2), head(8)
    )


@case(3, 4, (2, 2, 9, 16))
def time_and_frequency():
    """1 x k and k x 1 kernels over time and frequency, causal padding outside (DeepFilterNet, ShapeFormer)."""
    causal = nn.ConstantPad2d((0, 0, 2, 0), 0)
    along, across = nn.Conv2d(6, 6, (1, 5), padding=(0, 2), groups=6), nn.Conv2d(6, 8, (9, 1))
    parts = [nn.Conv2d(2, 6, (3, 1)), nn.ReLU(), along, nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6), nn.ReLU(), across]
    return nn.Sequential(causal, *parts, attend(8), head(8))


@case(3, 3, (2, 12, 20))
def words_in_windows():
    """Kernels over two, three and four words, the largest answer of each (word rules of text CNNs)."""

    def run(net, x):
        return net.linear(torch.cat([part(x).relu().amax(2) for part in net.parts], 1))

    return Net(run, parts=nn.ModuleList(nn.Conv1d(12, 6, size) for size in (2, 3, 4)), linear=nn.Linear(18, 5))


@case(7, 10)
def pyramid_there_and_back():
    """Levels meet in a feature pyramid, in either order, and one head runs on all of them (RCNet, RetinaNet)."""

    def run(net, x):
        levels = [net.c2(x)]
        levels.append(net.c3(levels[0]))
        levels.append(net.c4(levels[1]))
        p = [lateral(level) for lateral, level in zip(net.laterals, levels, strict=True)]
        p[1] = p[1] + F.interpolate(p[2], scale_factor=2)
        p[0] = p[0] + F.interpolate(p[1], scale_factor=2)
        p[1] = p[1] + net.back(p[0])
        return [net.box(net.shared(level).relu()) for level in p]

    return Net(
        run,
        c2=unit(3, 8, stride=2),
        c3=unit(8, 8, stride=2),
        c4=unit(8, 12, stride=2),
        laterals=nn.ModuleList([nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 1), nn.Conv2d(12, 8, 1)]),
        back=unit(8, 8, stride=2),
        shared=nn.Sequential(convolution(8, 8), nn.ReLU(), convolution(8, 8)),
        box=convolution(8, 4),
    )


@case(3, 4)
def prototypes_and_coefficients():
    """Masks are products of prototypes and coefficients (YOLACT)."""

    def run(net, x):
        y = net.trunk(x)
        prototypes, found = net.prototypes(y).relu(), net.coefficients(y).tanh()
        return torch.einsum("bkhw,bkn->bnhw", prototypes, found.flatten(2)[..., ::7]).sigmoid()

    return Net(
        run,
        trunk=unit(3, 8, stride=2),
        prototypes=convolution(8, 6),
        coefficients=nn.Sequential(nn.Conv2d(8, 8, 1), convolution(8, 6)),
    )


@case(5, 6)
def depth_by_planes():
    """Dilated kernels at several rates and planes per position (monocular depth)."""

    def run(net, x):
        y = net.encode(x)
        y = net.join(torch.cat([part(y).relu() for part in net.rates], 1)).relu()
        a, b, c = net.plane(y).chunk(3, 1)
        ramp = torch.linspace(-1, 1, 4, dtype=x.dtype)
        fine = F.interpolate(a, scale_factor=4) * ramp.repeat(y.shape[-1]) + F.interpolate(b, scale_factor=4)
        return (fine + F.interpolate(c, scale_factor=4)).sigmoid()

    return Net(
        run,
        encode=unit(3, 8, stride=4),
        rates=nn.ModuleList(convolution(8, 4, dilation=d) for d in (1, 2, 3)),
        join=nn.Conv2d(12, 8, 1),
        plane=convolution(8, 3),
    )


@case(4, 4)
def codes_of_a_book():
    """An autoencoder with the nearest code of a book between, gradients passed through (VQGAN)."""

    def run(net, x):
        z = net.encode(x)
        flat = z.flatten(2).mT
        code = net.book(torch.cdist(flat, net.book.weight[None]).argmin(2)).mT.view_as(z)
        return net.decode(z + (code - z).detach()), z - code

    encode = nn.Sequential(convolution(3, 8, stride=2), nn.GroupNorm(2, 8), nn.SiLU(), convolution(8, 6))
    decode = nn.Sequential(upscaled(6, 8), nn.GroupNorm(2, 8), nn.SiLU(), convolution(8, 3))
    return Net(run, encode=encode, decode=decode, book=nn.Embedding(7, 6))


@case(4, 4)
def one_trunk_several_heads():
    """One trunk for several tasks, faces with forty attributes among them."""

    def run(net, x):
        y = net.trunk(x)
        return {"class": net.one(y), "attributes": net.many(y).sigmoid(), "map": net.map(y)}

    trunk = nn.Sequential(unit(3, 8), residual(unit(8, 8), unit(8, 8)))
    return Net(run, trunk=trunk, one=head(8), many=head(8, 40), map=convolution(8, 2))


@case(2, 2, (2, 3, 8, 8), (2, 3, 8, 8))
def one_trunk_two_images():
    """Two patches through the same trunk (context prediction, siamese networks, retrieval)."""

    def run(net, a, b):
        a, b = net.trunk(torch.cat([a, b])).chunk(2)
        return net.relate(torch.cat([a, b], 1)), F.normalize(a, dim=1)

    return Net(run, trunk=nn.Sequential(unit(3, 8), unit(8, 8), head(8, 8)), relate=nn.Linear(16, 8))


@case(6, 6)
def several_equal_trunks():
    """Copies of one trunk, and one trunk in two places (CBNet, two resolutions, cascades)."""

    def trunk():
        return nn.Sequential(unit(3, 8, stride=2), unit(8, 8))

    def run(net, x):
        small = F.avg_pool2d(x, 2)
        return net.head(
            net.a(x).mean((2, 3)) + net.b(small).mean((2, 3)) + net.again(small).mean((2, 3)) + net.c(x).mean((2, 3))
        )

    a = trunk()
    return Net(run, a=a, b=trunk(), c=trunk(), again=a, head=nn.Linear(8, 5))


@case(2, 2, (4, 3, 12, 12), (4, 10))
def images_and_texts():
    """An image tower beside a text tower, joined by a contrastive loss of the user's own."""

    def run(net, image, words):
        return F.normalize(net.image(image), dim=1) @ F.normalize(net.text(words), dim=1).T * 5

    return Net(run, image=nn.Sequential(unit(3, 8), unit(8, 8, stride=2), head(8, 6)), text=nn.Linear(10, 6))


@case(3, 3, (4, 1, 9, 9))
def tiny_grey_patches():
    """Patches of nine pixels and one channel (cells, magnetic patterns, order flow)."""
    return nn.Sequential(unit(1, 6, 5), nn.MaxPool2d(2), unit(6, 8), convolution(8, 8), head(8, 1))


@case(2, 2, (2, 7, 12, 12))
def any_number_of_channels():
    """Stems of other than one or three channels (raw mosaics, order flow)."""
    return nn.Sequential(unit(7, 8), depthwise(8), head(8))
