"""What detection heads look at: the feature maps of any timm backbone, at strides that double from level to level.

The classifier's part is always ``body``, so that its weights can be found; what is new around it is ``fpn`` or
``extra``.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import timm
import timm.layers
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock
from torchvision.ops.misc import Conv2dNormActivation

from refconv.errors import ModelError, did_you_mean
from refconv.models.builders import is_timm


def check_backbone(name: str) -> None:
    """Refuse a backbone that timm does not know."""
    if not is_timm(name):
        remedy = did_you_mean(name.split(".")[0], timm.list_models())
        raise ModelError("unknown backbone", where=name, expected="a timm name", remedy=remedy)


def timm_features(
    name: str | None, strides: Sequence[int], *, pretrained: bool, in_chans: int, frozen_norm: bool, **arguments: Any
) -> tuple[nn.Module, list[int]]:
    """Build a backbone that hands out feature maps."""
    if name is None:
        raise ModelError("no backbone named", where="backbone", remedy="give --backbone and a timm name")
    check_backbone(name)
    create = partial(timm.create_model, name, features_only=True, in_chans=in_chans, **arguments)
    body: nn.Module = _created(create, name, pretrained=pretrained)
    found = _feature_info(body).reduction()
    indices = [found.index(stride) for stride in strides if found.count(stride) == 1]
    if not indices or [found[index] for index in indices] != list(strides[: len(indices)]):
        raise ModelError(
            "the backbone has no feature maps for this head",
            where=name,
            expected=f"strides {', '.join(map(str, strides))}",
            found=", ".join(map(str, found)),
            remedy="give other strides by model_kwargs, or another backbone",
        )
    if indices[-1] + 1 < len(found):
        body = _created(create, name, pretrained=pretrained, out_indices=tuple(range(indices[-1] + 1)))
    if frozen_norm:
        body = timm.layers.freeze_batch_norm_2d(body)
    _try(body, indices, name, in_chans)
    return body, indices


def _created(create: Any, name: str, **arguments: Any) -> nn.Module:
    """Call timm's builder."""
    try:
        model: nn.Module = create(**arguments)
    except (AttributeError, AssertionError, RuntimeError, TypeError) as error:
        raise ModelError(
            "timm cannot build it as a backbone of feature maps",
            where=name,
            found=f"{type(error).__name__}: {error}",
            remedy="choose a convolutional network",
        ) from error
    return model


def _feature_info(body: nn.Module) -> FeatureInfo:
    """Return what timm notes of a backbone's maps."""
    info = body.feature_info
    assert isinstance(info, FeatureInfo)
    return info


def _try(body: nn.Module, indices: Sequence[int], name: str, in_chans: int) -> None:
    """Check the maps of a small image, and keep from training what none of the wanted maps depends on.

    Some transformers put the channels last or take one size only, and timm's backbones may carry layers beyond their
    last map, for which several processes would wait in vain.
    """
    expected = _feature_info(body).channels()
    training = body.training
    body.eval()
    try:
        maps = body(torch.zeros(1, in_chans, 64, 96))
    except (AssertionError, RuntimeError) as error:
        raise ModelError(
            "the backbone does not take images of every size", where=name, found=str(error), remedy="choose another"
        ) from error
    finally:
        body.train(training)
    shapes = [list(value.shape) for value in maps]
    if any(len(shape) != 4 for shape in shapes) or [shape[1] for shape in shapes] != expected:
        raise ModelError(
            "the backbone's feature maps are not [batch, channels, height, width]",
            where=name,
            expected=f"channels {expected}",
            found=str(shapes),
            remedy="choose a convolutional network",
        )
    parameters = [parameter for parameter in body.parameters() if parameter.requires_grad]
    reached = sum(maps[index].sum() for index in indices)
    gradients = torch.autograd.grad(reached, parameters, allow_unused=True) if parameters else ()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


class FeaturePyramid(nn.Module):
    """A backbone with a feature pyramid (Lin et al. 2017, arXiv 1612.03144) and further levels on top."""

    def __init__(self, body: nn.Module, indices: Sequence[int], *, width: int, extra: int, pooled: bool) -> None:
        super().__init__()
        self.body = body
        self.indices = tuple(indices)
        self.out_channels = width
        channels = _feature_info(body).channels()
        block: ExtraFPNBlock | None = None
        if extra:
            block = _PooledLevels(extra) if pooled else _StridedLevels(extra, width)
        self.fpn = FeaturePyramidNetwork([channels[index] for index in self.indices], width, block)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the levels, each [batch, width, height, width], finest first."""
        maps = self.body(images)
        levels: dict[str, Tensor] = self.fpn(
            OrderedDict((str(number), maps[index]) for number, index in enumerate(self.indices))
        )
        return levels


class _PooledLevels(ExtraFPNBlock):
    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        results, names = list(results), list(names)
        for number in range(self.count):
            results.append(F.max_pool2d(results[-1], 1, 2, 0))
            names.append(f"pool{number}")
        return results, names


class _StridedLevels(ExtraFPNBlock):
    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(count))
        for level in self.levels:
            assert isinstance(level, nn.Conv2d)
            assert level.bias is not None
            nn.init.kaiming_uniform_(level.weight, a=1)
            nn.init.zeros_(level.bias)

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        results, names = list(results), list(names)
        for number, level in enumerate(self.levels):
            results.append(level(results[-1] if number == 0 else F.relu(results[-1])))
            names.append(f"p{number}")
        return results, names


class FeatureLadder(nn.Module):
    """A backbone with ever coarser maps behind it, as SSD has them (Liu et al. 2016, arXiv 1512.02325)."""

    def __init__(self, body: nn.Module, indices: Sequence[int], *, extra: Sequence[int], lite: bool) -> None:
        super().__init__()
        self.body = body
        self.indices = tuple(indices)
        channels = _feature_info(body).channels()
        self.out_channels = [*(channels[index] for index in self.indices), *extra]
        ends = pairwise(self.out_channels[len(self.indices) - 1 :])
        self.extra = nn.ModuleList((_lite_block if lite else _dense_block)(before, after) for before, after in ends)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps, each [batch, channels, height, width], finest first."""
        found = self.body(images)
        maps = [found[index] for index in self.indices]
        for block in self.extra:
            maps.append(block(maps[-1]))
        return OrderedDict((str(number), value) for number, value in enumerate(maps))


LITE_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)
"""Batch norm as SSDLite has it."""


def _lite_block(before: int, after: int) -> nn.Module:
    middle = max(after // 2, 8)
    make = partial(Conv2dNormActivation, norm_layer=LITE_NORM, activation_layer=nn.ReLU6)
    return nn.Sequential(
        make(before, middle, kernel_size=1),
        make(middle, middle, kernel_size=3, stride=2, groups=middle),
        make(middle, after, kernel_size=1),
    )


def _dense_block(before: int, after: int) -> nn.Module:
    middle = max(after // 2, 8)
    block = nn.Sequential(
        nn.Conv2d(before, middle, 1), nn.ReLU(), nn.Conv2d(middle, after, 3, stride=2, padding=1), nn.ReLU()
    )
    for layer in block:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return block
