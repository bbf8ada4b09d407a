"""torchvision's detection heads, built on the feature maps of any timm backbone, whose strides double by level.

``num_classes`` counts the background. The classifier's part is always ``body``, so that its weights can be found.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import timm
import timm.layers
import torch
from timm.models import FeatureInfo
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import ExtraFPNBlock
from torchvision.ops.misc import Conv2dNormActivation

from refconv.errors import ModelError, did_you_mean
from refconv.models.builders import is_timm


@dataclass(frozen=True)
class Levels:
    """The backbone and the levels that a head is built on."""

    body: nn.Module
    indices: list[int]  # which of the backbone's maps are levels
    strides: tuple[int, ...]  # of all levels, those beyond the backbone among them
    side: int  # of the image, in pixels
    exact: bool  # the longer side of an image becomes ``side``; else the shorter one
    where: str  # the detector's name, for messages
    width: int | None = None  # channels of a pyramid level
    anchor_sizes: Sequence[float] | None = None  # one per level, in pixels

    @property
    def sizes(self) -> dict[str, int]:
        """How torchvision's classes are told about the image size."""
        return {"min_size": self.side, "max_size": self.side if self.exact else 1333}

    @property
    def extra(self) -> int:
        """How many levels the backbone does not have."""
        return len(self.strides) - len(self.indices)

    def pyramid(self, *, pooled: bool) -> FeaturePyramid:
        """Return the backbone with a feature pyramid of all levels."""
        width = self.width or (256 if self.side >= 256 else 64)
        if width % 32:  # the heads' group norms have 32 groups
            raise ModelError("invalid width", where=self.where, expected="a multiple of 32", found=str(width))
        return FeaturePyramid(self.body, self.indices, width=width, extra=self.extra, pooled=pooled)

    def ladder(self, *, lite: bool) -> FeatureLadder:
        """Return the backbone with SSD's further maps behind it."""
        channels = (512, 256, 256, 128)
        extra = [channels[min(number, 3)] for number in range(self.extra)]
        return FeatureLadder(self.body, self.indices, extra=extra, lite=lite)

    def anchors(self, factor: float) -> list[float]:
        """Return one anchor size per level, in pixels: those given, or ``factor`` times the strides."""
        given = self.anchor_sizes
        found = [factor * stride for stride in self.strides] if given is None else list(given)
        if len(found) != len(self.strides):
            expected = f"{len(self.strides)} for strides {', '.join(map(str, self.strides))}"
            raise ModelError("wrong number of anchor sizes", where=self.where, expected=expected, found=str(found))
        return found


def _doubling(first: int, last: float) -> tuple[int, ...]:
    strides = [first]
    while 2 * strides[-1] <= last and len(strides) < 6:
        strides.append(2 * strides[-1])
    return tuple(strides)


# Levels go up to stride 32 at least, the last of nearly every backbone: what no level needs would not train.
def _one_stage_strides(side: int) -> tuple[int, ...]:
    """8 to 128 at 800 pixels, 4 to 32 at 128: anchors of four strides that go up to the image's side."""
    return _doubling(8 if side >= 256 else 4, min(max(side / 4, 32), 128))


def _rcnn_factor(side: int) -> float:
    return min(max(side / 100, 4.0), 8.0)


def _rcnn_strides(side: int) -> tuple[int, ...]:
    """4 to 64 at 800 pixels, 4 to 32 at 128."""
    return _doubling(4, min(max(side / _rcnn_factor(side), 32), 64))


def _ladder_strides(least: int, side: int) -> tuple[int, ...]:
    """Strides up to a map of two by two; the first leaves ``least`` cells a side if the image has them."""
    return _doubling(next((stride for stride in (16, 8) if side // stride >= least), 4), max(side / 2, 32))


def _build_fcos(levels: Levels, num_classes: int, *, depth: int = 4, **arguments: Any) -> Any:
    """FCOS (Tian et al. 2019, arXiv 1904.01355)."""
    pyramid = levels.pyramid(pooled=False)
    anchors = AnchorGenerator(tuple((stride,) for stride in levels.strides), ((1.0,),) * len(levels.strides))
    head = FCOSHead(pyramid.out_channels, 1, num_classes, num_convs=depth)
    settings = {"score_thresh": 0.05, **levels.sizes, **arguments}
    return detection.FCOS(pyramid, num_classes, anchor_generator=anchors, head=head, **settings)


def _build_retinanet(levels: Levels, num_classes: int, **arguments: Any) -> Any:
    """RetinaNet (Lin et al. 2017, arXiv 1708.02002), with group norm in its heads as in torchvision's v2."""
    pyramid = levels.pyramid(pooled=False)
    sizes = tuple(tuple(size * 2 ** (third / 3) for third in range(3)) for size in levels.anchors(4.0))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    per_location, norm = anchors.num_anchors_per_location()[0], partial(nn.GroupNorm, 32)
    head = RetinaNetHead(pyramid.out_channels, per_location, num_classes, norm_layer=norm)
    settings = {**levels.sizes, **arguments}
    return detection.RetinaNet(pyramid, num_classes, anchor_generator=anchors, head=head, **settings)


def _build_rcnn(levels: Levels, num_classes: int, *, masks: bool = False, **arguments: Any) -> Any:
    """Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) with a pyramid, or Mask R-CNN (arXiv 1703.06870)."""
    pyramid = levels.pyramid(pooled=True)
    channels = pyramid.out_channels
    sizes = levels.anchors(_rcnn_factor(levels.side))
    names = [str(number) for number in range(len(levels.indices))]
    of_boxes = {
        "rpn_anchor_generator": AnchorGenerator(tuple((s,) for s in sizes), ((0.5, 1.0, 2.0),) * len(sizes)),
        "box_roi_pool": MultiScaleRoIAlign(names, output_size=7, sampling_ratio=2),
        "box_head": TwoMLPHead(channels * 7**2, 4 * channels),
        "box_predictor": FastRCNNPredictor(4 * channels, num_classes),
        **levels.sizes,
        **arguments,
    }
    of_masks = {  # drawn without masks too, so that a seed gives the same boxes with and without
        "mask_roi_pool": MultiScaleRoIAlign(names, output_size=14, sampling_ratio=2),
        "mask_head": MaskRCNNHeads(channels, (channels,) * 4, 1),
        "mask_predictor": MaskRCNNPredictor(channels, channels, num_classes),
    }
    if masks:
        return detection.MaskRCNN(pyramid, **of_boxes, **of_masks)
    return detection.FasterRCNN(pyramid, **of_boxes)


def _build_ssd(levels: Levels, num_classes: int, *, lite: bool = False, **arguments: Any) -> Any:
    """SSD (Liu et al. 2016, arXiv 1512.02325), or SSDLite (arXiv 1801.04381)."""
    ladder = levels.ladder(lite=lite)
    count = len(levels.strides)
    # As in the papers, the coarsest and finest of dense SSD's maps go without the ratio 3.
    ratios = [[2, 3] if lite or 0 < number < count - 2 else [2] for number in range(count)]
    least, most = (0.2, 0.95) if lite else (0.15, 0.9)
    least, most = arguments.pop("min_ratio", 0) or least, arguments.pop("max_ratio", 0) or most
    boxes = DefaultBoxGenerator(ratios, min_ratio=least, max_ratio=most)
    size = (levels.side, levels.side)
    if not lite:
        return SSD(ladder, boxes, size, num_classes, **arguments)
    head = SSDLiteHead(ladder.out_channels, boxes.num_anchors_per_location(), num_classes, LITE_NORM)
    few = {"score_thresh": 0.001, "nms_thresh": 0.55, "detections_per_img": 300, "topk_candidates": 300}
    return SSD(ladder, boxes, size, num_classes, head=head, **{**few, **arguments})


@dataclass(frozen=True)
class Head:
    """A detection head."""

    build: Callable[..., nn.Module]
    made: type[nn.Module]  # torchvision's class, whose arguments the user may give
    strides: Callable[[int], tuple[int, ...]]  # from an image side to the strides of the levels
    own: tuple[str, ...]  # arguments of ours that the user may give
    square: bool = False  # images are warped to a square


_RATIOS, _ANCHORS = ("min_ratio", "max_ratio"), ("width", "anchor_sizes")
HEADS: Mapping[str, Head] = {
    "ssdlite": Head(partial(_build_ssd, lite=True), SSD, partial(_ladder_strides, 16), _RATIOS, square=True),
    "ssd": Head(_build_ssd, SSD, partial(_ladder_strides, 32), _RATIOS, square=True),
    "fasterrcnn": Head(_build_rcnn, detection.FasterRCNN, _rcnn_strides, _ANCHORS),
    "maskrcnn": Head(partial(_build_rcnn, masks=True), detection.MaskRCNN, _rcnn_strides, _ANCHORS),
    "retinanet": Head(_build_retinanet, detection.RetinaNet, _one_stage_strides, _ANCHORS),
    "fcos": Head(_build_fcos, detection.FCOS, _one_stage_strides, ("width", "depth")),
}
"""The heads by name."""


_OTHER = "choose a convolutional network"


def check_backbone(name: str) -> None:
    """Refuse a backbone that timm does not know."""
    if not is_timm(name):
        remedy = did_you_mean(name.split(".")[0], timm.list_models())
        raise ModelError("unknown backbone", where=name, expected="a timm name", remedy=remedy)


def timm_features(
    name: str | None, strides: Sequence[int], *, pretrained: bool, in_chans: int, frozen_norm: bool, **arguments: Any
) -> tuple[nn.Module, list[int]]:
    """Build a backbone of feature maps; return it and the index of each stride, as far as the backbone's go."""
    if name is None:
        raise ModelError(
            "no backbone named", where="backbone", remedy="give --backbone and a timm name, in Python backbone"
        )
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


LITE_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.03)  #: Batch norm as SSDLite has it


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
