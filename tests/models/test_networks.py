"""Tests of refconv.models.networks."""

import math

import pytest
import torch
from torch import nn

from refconv.data import open_data
from refconv.models import networks
from refconv.process.randomness import seeded

IMAGES = ("mobilenet_small", "resnet_small", "resnext_small", "convnext_small")
images = pytest.mark.parametrize("name", IMAGES)
every = pytest.mark.parametrize("name", [*IMAGES, "mobilenet_1d"])


def build(name, **settings):
    return getattr(networks, name)(**settings)


def example(name, size=8, channels=1):
    return torch.rand(2, channels, *([size] if name == "mobilenet_1d" else [size, size]))


def convolutions(model):
    return [
        module for module in model.modules() if isinstance(module, (nn.Conv1d, nn.Conv2d)) and module.kernel_size[0] > 1
    ]


@every
@pytest.mark.parametrize("size", [8, 13, 28])
def test_networks_take_any_size(name, size):
    assert build(name).eval()(example(name, size)).shape == (2, 10)


@every
def test_a_stem_with_a_stride_makes_every_later_map_smaller_and_changes_no_parameter(name):
    plain, quick = build(name), build(name, stem_stride=2)
    assert [p.shape for p in plain.parameters()] == [p.shape for p in quick.parameters()]
    whole, half = (model.eval().stem(example(name, 28)).shape[2:] for model in (plain, quick))
    assert [2 * size for size in half] == list(whole) == [28] * len(whole)
    assert quick(example(name)).shape == (2, 10)


@every
def test_networks_take_other_channels_and_classes(name):
    model = build(name, num_classes=3, in_chans=2)
    assert model.num_classes == 3
    assert model(example(name, channels=2)).shape == (2, 3)


@every
def test_reset_classifier_starts_the_last_layer_anew(name):
    model = build(name)
    assert model.get_classifier() is model.classifier
    model.reset_classifier(7)
    assert model.num_classes == 7
    assert model(example(name)).shape == (2, 7)
    model.reset_classifier(0)
    assert model(example(name)).shape == (2, model.num_features)


@every
def test_networks_are_small(name):
    assert 15_000 < sum(p.numel() for p in build(name).parameters()) < 100_000


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mobilenet_small", lambda conv: conv.groups == conv.in_channels),
        ("mobilenet_1d", lambda conv: conv.groups == conv.in_channels and isinstance(conv, nn.Conv1d)),
        ("resnet_small", lambda conv: conv.groups == 1),
        ("resnext_small", lambda conv: 1 < conv.groups < conv.in_channels),
        ("convnext_small", lambda conv: conv.groups == conv.in_channels and conv.kernel_size == (7, 7)),
    ],
)
def test_networks_have_the_kind_of_kernel_they_are_for(name, kind):
    stem, *body = convolutions(build(name))
    body = [conv for conv in body if conv.kernel_size != conv.stride]  # the patches between ConvNeXt's stages
    assert stem.groups == 1
    assert len(body) >= 3
    assert all(kind(conv) for conv in body)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("mobilenet_small", {"width": 0.5, "strides": (1, 1), "kernel_size": 5}),
        ("mobilenet_1d", {"width": 2.0, "strides": (1, 1, 1), "kernel_size": 3}),
        ("resnet_small", {"channels": (8, 8), "depth": 2}),
        ("resnext_small", {"channels": (16, 32), "depth": 2, "groups": 4}),
        ("convnext_small", {"channels": (8, 16, 32), "depth": 1, "kernel_size": 5}),
    ],
)
def test_sizes_are_options(name, settings):
    model = build(name, **settings)
    assert model(example(name, 16)).shape == (2, 10)
    assert sum(p.numel() for p in model.parameters()) != sum(p.numel() for p in build(name).parameters())


def accuracy_after(name, source, *, epochs, lr=0.1, **sizes):
    data = open_data(source)
    with seeded(0):
        model = build(name, **sizes)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=5e-4)
    count = data.batches_per_epoch(batch_size=64)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, (step + 1) / count) * (1 + math.cos(math.pi * step / (count * epochs))) / 2
    )
    for epoch in range(epochs):
        for samples, labels in data.train_batches(seed=0, epoch=epoch, batch_size=64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(samples), labels).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        right = sum(
            int((model(samples).argmax(1) == labels).sum())
            for samples, labels in data.eval_batches("test", batch_size=500)
        )
    return right / data.info.test_size


@images
def test_networks_learn_the_digits_in_seconds(name):
    sizes = {"depth": 1} if name == "convnext_small" else {}  # its two blocks a stage take as long as the others
    assert accuracy_after(name, "digits", epochs=3, **sizes) > 0.95


def test_mobilenet_1d_learns_mnist1d_in_seconds():
    assert accuracy_after("mobilenet_1d", "mnist1d", epochs=3, width=0.5) > 0.8
