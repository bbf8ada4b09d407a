"""Small networks for small data, one for each kind of convolution that refocusing treats differently.

Each is built by ``NAME(num_classes=10, in_chans=1, ...)`` and opened by ``--model refconv.models.networks:NAME``.
They are plain torch, have batch norm throughout, train well by SGD, and answer timm's ``get_classifier`` and
``reset_classifier``; 0 classes give the features alone. Input may have any size from 8 x 8 on. ``channels`` are those
of each stage; every stage but the first halves the size. ``depth`` is the blocks per stage, ``stem_stride`` the stride
of the first convolution, ``kernel_size`` that of the depthwise convolutions. MobileNets have a block for each of
``strides``, with more channels than the one before, and ``width`` multiplies the channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import cast

from torch import Tensor, nn

_CONV = {1: nn.Conv1d, 2: nn.Conv2d}
_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_POOL = {1: nn.AdaptiveAvgPool1d, 2: nn.AdaptiveAvgPool2d}


class Classifier(nn.Module):
    """A stem, blocks, the mean over space, and a linear classifier; ``dims`` are the spatial dimensions, 1 or 2."""

    def __init__(
        self, stem: nn.Module, blocks: Sequence[nn.Module], num_features: int, num_classes: int, *, dims: int = 2
    ) -> None:
        super().__init__()
        self.num_features = num_features
        self.stem = stem
        self.blocks = nn.Sequential(*blocks)
        self.pool = _POOL[dims](1)
        self.reset_classifier(num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def get_classifier(self) -> nn.Module:
        """Return the last layer."""
        return self.classifier

    def reset_classifier(self, num_classes: int) -> None:
        """Start the last layer anew."""
        self.num_classes = num_classes
        self.classifier: nn.Module = nn.Identity()
        if num_classes:
            self.classifier = layer = nn.Linear(self.num_features, num_classes)
            nn.init.normal_(layer.weight, std=1 / math.sqrt(self.num_features))
            nn.init.zeros_(layer.bias)

    def forward_features(self, x: Tensor) -> Tensor:
        """Return the last feature map [n, num_features, *spatial]."""
        return cast(Tensor, self.blocks(self.stem(x)))

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits [n, num_classes]."""
        return cast(Tensor, self.classifier(self.pool(self.forward_features(x)).flatten(1)))


class Residual(nn.Module):
    """``activation(shortcut(x) + body(x))``."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, x: Tensor) -> Tensor:
        """Return the sum, activated."""
        return cast(Tensor, self.activation(self.shortcut(x) + self.body(x)))


def mobilenet_small(
    num_classes: int = 10,
    in_chans: int = 1,
    *,
    width: float = 1.0,
    strides: Sequence[int] = (1, 2, 1, 2),
    kernel_size: int = 3,
    stem_stride: int = 1,
    dims: int = 2,
) -> Classifier:
    """Build a MobileNet-like network of depthwise-separable blocks (Howard et al. 2017): depthwise kernels."""
    before = first = round(24 * width)
    blocks = []
    for position, stride in enumerate(strides, start=1):
        after = round((24 + 24 * position) * width)
        depthwise = _conv_norm(before, before, kernel_size, stride=stride, groups=before, dims=dims)
        blocks.append(nn.Sequential(*depthwise, nn.ReLU(), *_conv_norm(before, after, 1, dims=dims), nn.ReLU()))
        before = after
    return Classifier(_stem(in_chans, first, stem_stride, dims=dims), blocks, before, num_classes, dims=dims)


def mobilenet_1d(
    num_classes: int = 10,
    in_chans: int = 1,
    *,
    width: float = 1.0,
    strides: Sequence[int] = (2, 1, 2, 1),
    kernel_size: int = 5,
    stem_stride: int = 1,
) -> Classifier:
    """Build :func:`mobilenet_small` for signals [n, in_chans, length]: one-dimensional depthwise kernels."""
    return mobilenet_small(
        num_classes, in_chans, width=width, strides=strides, kernel_size=kernel_size, stem_stride=stem_stride, dims=1
    )


def resnet_small(
    num_classes: int = 10,
    in_chans: int = 1,
    *,
    channels: Sequence[int] = (16, 32, 64),
    depth: int = 1,
    stem_stride: int = 1,
) -> Classifier:
    """Build a residual network of basic blocks (He et al. 2016): dense kernels."""

    def block(before: int, after: int, stride: int) -> list[nn.Module]:
        body = nn.Sequential(*_conv_norm(before, after, 3, stride=stride), nn.ReLU(), *_conv_norm(after, after, 3))
        return [Residual(body, _shortcut(before, after, stride), nn.ReLU())]

    return _staged(block, num_classes, in_chans, channels, depth, stem_stride)


def resnext_small(
    num_classes: int = 10,
    in_chans: int = 1,
    *,
    channels: Sequence[int] = (32, 64, 128),
    depth: int = 1,
    groups: int = 8,
    stem_stride: int = 1,
) -> Classifier:
    """Build a residual network of grouped bottlenecks (Xie et al. 2017): ``groups`` divides half of each stage's."""

    def block(before: int, after: int, stride: int) -> list[nn.Module]:
        inner = after // 2
        reduced = (*_conv_norm(before, inner, 1), nn.ReLU())
        grouped = (*_conv_norm(inner, inner, 3, stride=stride, groups=groups), nn.ReLU())
        body = nn.Sequential(*reduced, *grouped, *_conv_norm(inner, after, 1))
        return [Residual(body, _shortcut(before, after, stride), nn.ReLU())]

    return _staged(block, num_classes, in_chans, channels, depth, stem_stride)


def convnext_small(
    num_classes: int = 10,
    in_chans: int = 1,
    *,
    channels: Sequence[int] = (32, 64),
    depth: int = 2,
    kernel_size: int = 7,
    stem_stride: int = 1,
) -> Classifier:
    """Build a ConvNeXt-like network (Liu et al. 2022), with batch norm in place of layer norm: 7 x 7 depthwise."""

    def block(before: int, after: int, stride: int) -> list[nn.Module]:
        halving = []
        if before != after:  # between stages dense 2 x 2 kernels halve the size
            halving.append(nn.Sequential(*_conv_norm(before, after, stride, stride=stride, padding=0)))
        depthwise, wide = _conv_norm(after, after, kernel_size, groups=after), _conv_norm(after, 2 * after, 1)
        body = nn.Sequential(*depthwise, *wide, nn.GELU(), *_conv_norm(2 * after, after, 1))
        return [*halving, Residual(body, nn.Identity(), nn.Identity())]

    return _staged(block, num_classes, in_chans, channels, depth, stem_stride)


def _staged(
    block: Callable[[int, int, int], list[nn.Module]],
    num_classes: int,
    in_chans: int,
    channels: Sequence[int],
    depth: int,
    stem_stride: int,
) -> Classifier:
    """Return a network of stages; ``block`` gives modules by channels before, channels after and stride."""
    blocks, before = [], channels[0]
    for stage, after in enumerate(channels):
        for number in range(depth):
            blocks += block(before, after, 2 if stage and not number else 1)
            before = after
    return Classifier(_stem(in_chans, channels[0], stem_stride), blocks, before, num_classes)


def _stem(in_chans: int, channels: int, stride: int, *, dims: int = 2) -> nn.Sequential:
    return nn.Sequential(*_conv_norm(in_chans, channels, 3, stride=stride, dims=dims), nn.ReLU())


def _shortcut(before: int, after: int, stride: int) -> nn.Module:
    if before == after and stride == 1:
        return nn.Identity()
    return nn.Sequential(*_conv_norm(before, after, 1, stride=stride))


def _conv_norm(
    before: int,
    after: int,
    kernel_size: int,
    *,
    stride: int = 1,
    groups: int = 1,
    padding: int | None = None,
    dims: int = 2,
) -> tuple[nn.Module, nn.Module]:
    """Return a convolution without bias, of unchanged size up to its stride, and a batch norm."""
    padding = kernel_size // 2 if padding is None else padding
    conv = _CONV[dims](before, after, kernel_size, stride=stride, padding=padding, groups=groups, bias=False)
    return conv, _NORM[dims](after)
