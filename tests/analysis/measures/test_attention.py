"""Grad-CAM in closed form and as captum has it; which images are chosen; their pixels and classes as in the data."""

import base64

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from networks import EveryKind
from refconv import analysis
from refconv.analysis.measures.attribution import grad_cam
from refconv.errors import DataError, ModelError, SettingError

MEAN, STD = (0.5,), (0.2,)


def pooled(channels=3, classes=4, seed=0):
    """A single convolution, the mean over positions, a linear layer; without biases, so that all classes are named."""
    torch.manual_seed(seed)
    convolution, head = nn.Conv2d(1, channels, 3, bias=False), nn.Linear(channels, classes, bias=False)
    return nn.Sequential(convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), head).requires_grad_(False)


def data(count=40, classes=4, side=9, channels=1, seed=0):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(0, 256, (count, channels, side, side), generator=generator) / 255
    labels = torch.randint(0, classes, (count,), generator=generator)
    return list(zip(((pixels - MEAN[0]) / STD[0]).split(16), labels.split(16), strict=True))


def look(before, after, batches=None, **settings):
    settings = {"mean": MEAN, "std": STD, **settings}
    return analysis.attention(before, after, data() if batches is None else batches, **settings)


def test_behind_a_convolution_and_a_mean_the_map_is_the_weighted_sum_of_channels():
    model = pooled().double()
    images = torch.cat([samples for samples, _ in data()]).double()[:4]
    targets = torch.tensor([0, 1, 2, 3])
    found = grad_cam(model, images, targets, "0")
    expected = torch.einsum("nc,nchw->nhw", model[3].weight[targets], model[0](images)).clamp(min=0)
    torch.testing.assert_close(found, expected / expected.amax((1, 2), keepdim=True))
    assert not torch.allclose(found, grad_cam(model, images, targets.roll(1), "0"))


def test_maps_are_those_of_captum_also_before_layers_that_work_in_place():
    attribute = pytest.importorskip("captum.attr")
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(inplace=True), nn.Conv2d(4, 5, 3), nn.ReLU(inplace=True),
                          nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(20, 4)).double()  # fmt: skip
    images, targets = torch.randn(3, 1, 9, 9).double(), torch.tensor([2, 0, 1])
    for name in ("0", "2"):
        expected = attribute.LayerGradCam(model, model[int(name)]).attribute(images, targets, relu_attributions=True)
        expected = expected.detach()[:, 0]
        expected = expected / expected.amax((1, 2), keepdim=True).clamp(min=1e-300)
        torch.testing.assert_close(grad_cam(model, images, targets, name), expected)


def test_the_record_shows_the_images_the_classes_and_the_maps_of_their_places():
    before, after = pooled(), pooled(seed=1)
    found = look(before, after)
    images, labels = (torch.cat(parts) for parts in zip(*data(), strict=True))
    assert (found.samples, found.cut, found.layer_before, found.layer_after, len(found.shown)) == (
        40,
        False,
        "0",
        "0",
        12,
    )
    for image in found.shown:
        assert image.target == labels[image.place]
        scores = [model(images[image.place][None]).softmax(1).max(1) for model in (before, after)]
        assert [image.before, image.after] == [int(score.indices) for score in scores]
        assert [image.confidence_before, image.confidence_after] == pytest.approx([float(s.values) for s in scores])
        pixels = torch.frombuffer(bytearray(base64.b64decode(image.pixels)), dtype=torch.uint8).reshape(image.shape)
        original = images[image.place] * STD[0] + MEAN[0]
        torch.testing.assert_close(pixels.permute(2, 0, 1) / 255, original, rtol=0, atol=1e-6)
        for model, rows in ((before, image.map_before), (after, image.map_after)):
            (expected,) = grad_cam(model, images[image.place][None], torch.tensor([image.target]), "0")
            torch.testing.assert_close(torch.tensor(rows).double(), expected, rtol=0, atol=6e-4)
    assert analysis.Attention.from_json(found.to_json()) == found
    assert f"{found.shown[0].place}" in str(found)


def group(image):
    return {(False, True): "gained", (True, False): "lost", (False, False): "wrong", (True, True): "right"}[
        (image.before == image.target, image.after == image.target)
    ]


def test_images_that_changed_sides_come_first_and_no_group_is_left_out():
    found = look(pooled(), pooled(seed=1), data(400))
    assert [group(image) for image in found.shown] == ["gained"] * 4 + ["lost"] * 4 + ["wrong"] * 2 + ["right"] * 2
    assert [group(image) for image in look(pooled(), pooled(seed=1), data(400), shown=2).shown] == ["gained", "lost"]
    same = [group(image) for image in look(pooled(), pooled(), data(400)).shown]
    assert same == ["wrong"] * 6 + ["right"] * 6
    places = [image.place for image in found.shown]
    assert len(set(places)) == 12
    again, other = (look(pooled(), pooled(seed=1), data(400), seed=seed) for seed in (0, 1))
    assert again == found
    assert places != [image.place for image in other.shown]
    assert len(look(pooled(), pooled(seed=1), data(5)).shown) == 5


def test_large_images_are_shrunk_without_alias():
    generator = torch.Generator().manual_seed(0)
    checks = torch.arange(192)[:, None] + torch.arange(144) & 1  # averages to a half everywhere
    images = ((checks.float().expand(2, 3, 192, 144) - 0.5) / 0.2).clone()
    torch.manual_seed(0)
    model = EveryKind().eval()
    found = look(model, model, [(images, torch.randint(0, 5, (2,), generator=generator))], mean=MEAN * 3, std=STD * 3)
    assert [image.shape for image in found.shown] == [(96, 72, 3)] * 2
    inside = torch.frombuffer(bytearray(base64.b64decode(found.shown[0].pixels)), dtype=torch.uint8)
    assert F.l1_loss(inside.float(), torch.full((96 * 72 * 3,), 127.5)) < 3


class Blind(nn.Module):
    """Its convolution runs, and no class depends on it."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(81, 4)

    def forward(self, x):
        self.conv(x)
        return self.head(x.flatten(1))


def test_what_has_no_map_is_refused_in_one_line():
    model = pooled()
    flat = nn.Sequential(nn.Flatten(), nn.Linear(81, 4))
    for call, kind, message in (
        (lambda: look(model, model, layer="5"), ModelError, "5: there is no such layer"),
        (lambda: look(model, model, layer="3"), ModelError, "3: the layer gives no map"),
        (lambda: look(flat, flat), ModelError, "no convolution gives a map"),
        (lambda: look(Blind(), Blind()), ModelError, "conv: no class depends on the layer"),
        (lambda: look(model, model, shown=0), SettingError, "shown: too few"),
        (lambda: look(model, model, mean=(0.0,), std=(1.0,)), DataError, "no images under this normalisation"),
        (lambda: look(flat, flat, [(x.flatten(2), y) for x, y in data()]), DataError, "this measure needs images"),
    ):
        with pytest.raises(kind, match=message) as caught:
            call()
        assert "\n" not in str(caught.value)


def test_a_map_of_nothing_is_zeros():
    model = pooled()
    nn.init.zeros_(model[3].weight)
    assert set(look(model, model).shown[0].map_after[0]) == {0.0}


def test_two_channels_make_no_picture():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    with pytest.raises(DataError, match="pictures have one channel or three; found 2 channels"):
        look(model, model, data(channels=2), mean=MEAN * 2, std=STD * 2)
