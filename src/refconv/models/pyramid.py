"""What detection heads look at: the feature maps of any timm backbone, at strides that double from level to level.

The classifier's part is always ``body``, so that its weights can be found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, cast

import timm
import timm.layers
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock
from torchvision.ops.misc import Conv2dNormActivation

from refconv.errors import ModelError
from refconv.models.builders import is_timm, unknown

_OTHER = "choose a convolutional network"


def check_backbone(name: str) -> None:
    """Refuse a backbone that timm does not know."""
    if not is_timm(name):
        known = timm.list_models()
        raise unknown("unknown backbone", name, known, name=name.split(".")[0], expected="a timm name")


def timm_features(
    name: str | None, strides: Sequence[int], *, pretrained: bool, in_chans: int, frozen_norm: bool, **arguments: Any
) -> tuple[nn.Module, list[int]]:
    """Build a backbone of feature maps; return it and the index of each stride, as far as the backbone's go."""
    if name is None:
        raise ModelError("no backbone named", where="backbone", remedy="give --backbone and a timm name")
    check_backbone(name)
    create = partial(timm.create_model, name, features_only=True, in_chans=in_chans, **arguments)
    body = _created(create, name, pretrained=pretrained)
    found = _feature_info(body).reduction()
    indices = [found.index(stride) for stride in strides if found.count(stride) == 1]
    if not indices or [found[index] for index in indices] != list(strides[: len(indices)]):
        what = "the backbone has no feature maps for this head"
        expected, has = (", ".join(map(str, values)) for values in (strides, found))
        remedy = "give other strides by model_kwargs, or another backbone"
        raise ModelError(what, where=name, expected=f"strides {expected}", found=has, remedy=remedy)
    if indices[-1] + 1 < len(found):
        body = _created(create, name, pretrained=pretrained, out_indices=tuple(range(indices[-1] + 1)))
    if frozen_norm:
        body = timm.layers.freeze_batch_norm_2d(body)
    _try(body, indices, name, in_chans)
    return body, indices


def _created(create: Callable[..., nn.Module], name: str, **arguments: Any) -> nn.Module:
    """Call timm's builder."""
    try:
        return create(**arguments)
    except (AttributeError, AssertionError, RuntimeError, TypeError) as error:
        what, found = "timm cannot build it as a backbone of feature maps", f"{type(error).__name__}: {error}"
        raise ModelError(what, where=name, found=found, remedy=_OTHER) from error


def _feature_info(body: nn.Module) -> FeatureInfo:
    return cast(FeatureInfo, body.feature_info)


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
        what = "the backbone does not take images of every size"
        raise ModelError(what, where=name, found=str(error), remedy=_OTHER) from error
    finally:
        body.train(training)
    shapes = [list(value.shape) for value in maps]
    if any(len(shape) != 4 for shape in shapes) or [shape[1] for shape in shapes] != expected:
        what = "the backbone's feature maps are not [batch, channels, height, width]"
        raise ModelError(what, where=name, expected=f"channels {expected}", found=str(shapes), remedy=_OTHER)
    parameters = [parameter for parameter in body.parameters() if parameter.requires_grad]
    reached = sum(maps[index].sum() for index in indices)
    gradients = torch.autograd.grad(reached, parameters, allow_unused=True) if parameters else ()
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


class _Features(nn.Module):
    """A backbone and which of its maps to take, finest first."""

    def __init__(self, body: nn.Module, indices: Sequence[int]) -> None:
        super().__init__()
        self.body, self.indices = body, tuple(indices)
        channels = _feature_info(body).channels()
        self.channels = [channels[index] for index in indices]

    def taken(self, images: Tensor) -> list[Tensor]:
        maps = self.body(images)
        return [maps[index] for index in self.indices]


class FeaturePyramid(_Features):
    """A backbone with a feature pyramid (Lin et al. 2017, arXiv 1612.03144) and ``extra`` levels on top."""

    def __init__(self, body: nn.Module, indices: Sequence[int], *, width: int, extra: int, pooled: bool) -> None:
        super().__init__(body, indices)
        self.out_channels = width
        block = _MoreLevels(extra, width, pooled=pooled) if extra else None
        self.fpn = FeaturePyramidNetwork(self.channels, width, block)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the levels, each [batch, width, height, width], finest first."""
        return cast(dict[str, Tensor], self.fpn(_numbered(self.taken(images))))


def _numbered(maps: Sequence[Tensor]) -> OrderedDict[str, Tensor]:
    return OrderedDict((str(number), value) for number, value in enumerate(maps))


class _MoreLevels(ExtraFPNBlock):
    """Levels by max pooling, as in Faster R-CNN, or by strided convolutions (RetinaNet's P6, P7)."""

    def __init__(self, count: int, width: int, *, pooled: bool) -> None:
        super().__init__()
        self.pooled = pooled
        strided = partial(nn.Conv2d, width, width, 3, stride=2, padding=1)
        self.levels = nn.ModuleList(nn.MaxPool2d(1, 2) if pooled else strided() for _ in range(count))
        _initialised(self.levels, partial(nn.init.kaiming_uniform_, a=1))

    def forward(self, results: list[Tensor], x: list[Tensor], names: list[str]) -> tuple[list[Tensor], list[str]]:
        results, names = list(results), list(names)
        for number, level in enumerate(self.levels):
            results.append(level(results[-1] if self.pooled or number == 0 else F.relu(results[-1])))
            names.append(f"{'pool' if self.pooled else 'p'}{number}")
        return results, names


def _initialised(layers: Iterable[nn.Module], draw: Callable[[Tensor], Tensor]) -> None:
    """Draw the weights of convolutions anew; their biases become 0."""
    for layer in layers:
        if isinstance(layer, nn.Conv2d):
            assert layer.bias is not None
            draw(layer.weight)
            nn.init.zeros_(layer.bias)


class FeatureLadder(_Features):
    """A backbone with ever coarser maps of ``extra`` channels behind it, as in SSD (Liu et al. 2016, arXiv 1512.02325).

    ``lite`` blocks are depthwise-separable with batch norm (SSDLite, arXiv 1801.04381), the others dense.
    """

    def __init__(self, body: nn.Module, indices: Sequence[int], *, extra: Sequence[int], lite: bool) -> None:
        super().__init__(body, indices)
        self.out_channels = [*self.channels, *extra]
        ends = pairwise(self.out_channels[len(self.indices) - 1 :])
        self.extra = nn.ModuleList((_lite_block if lite else _dense_block)(before, after) for before, after in ends)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the maps, each [batch, channels, height, width], finest first."""
        maps = self.taken(images)
        for block in self.extra:
            maps.append(block(maps[-1]))
        return _numbered(maps)


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
    _initialised(block, nn.init.xavier_uniform_)
    return block
