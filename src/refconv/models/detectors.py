"""Detectors by name: torchvision's own, and its heads on any timm backbone.

Everywhere ``num_classes`` counts the classes of the data; torchvision's constructors also count the background, as
class 0. What makes a detector is plain values, so that a model folder can build it again.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm.layers
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torchvision.models import detection, get_model, get_model_weights, list_models
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.ssdlite import SSDLiteHead
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from refconv.errors import ModelError, did_you_mean
from refconv.models.pyramid import LITE_NORM, FeatureLadder, FeaturePyramid, timm_features

COCO_CLASSES = 90
"""Classes where none are asked for, as in torchvision: the category ids of COCO go up to 90."""

LEAST_SIZE = 32
"""The smallest image side that the heads are built for, in pixels."""

_THRESHOLD = "score_thresh"  # where torchvision keeps the minimum score of a detection

_FIXED = {"ssd300_vgg16": 300}  # its last maps have no padding, and its boxes are laid out for this size


@contextlib.contextmanager
def all_scores(*models: nn.Module) -> Iterator[None]:
    """Let torchvision's detectors give boxes of any score within the block."""
    modules = [module for model in models for module in model.modules() if hasattr(module, _THRESHOLD)]
    thresholds = [(module, getattr(module, _THRESHOLD)) for module in modules]
    try:
        for module, _ in thresholds:
            setattr(module, _THRESHOLD, 0.0)
        yield
    finally:
        for module, threshold in reversed(thresholds):
            setattr(module, _THRESHOLD, threshold)


def is_detector(name: str) -> bool:
    """Say whether torchvision has a detector of this name."""
    return name in list_models(module=detection)


def build_torchvision_detector(
    name: str,
    *,
    num_classes: int | None = None,
    in_chans: int = 3,
    pretrained: bool = False,
    img_size: int | None = None,
    frozen_norm: bool = False,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
    **arguments: Any,
) -> nn.Module:
    """Build one of torchvision's detectors.

    Nothing is downloaded unless ``pretrained`` asks for it, and no layer is frozen: what trains is the recipe's choice.

    Args:
        name: torchvision's name, such as ``fasterrcnn_resnet50_fpn``.
        num_classes: classes, the background not among them.
        in_chans: input channels; torchvision's detectors take 3.
        pretrained: start from torchvision's weights for COCO, the layers that depend on the classes anew unless there
            are 90.
        img_size: the side, in pixels, to which the longer side of an image is brought, or both sides of SSD's; None
            leaves torchvision's choice.
        frozen_norm: keep the backbone's batch norms as they are, as torchvision does with pretrained ones.
        image_mean: per channel, what is subtracted from values in [0, 1].
        image_std: per channel, what they are then divided by.
        **arguments: further arguments of torchvision's builder, such as ``box_score_thresh``.

    Returns:
        A model that takes a list of images [3, H, W] in [0, 1]; in training also a list of targets, and gives losses.

    Raises:
        ModelError: if there is no such detector, or an argument is not possible.
    """
    where = f"torchvision:{name}"
    if name.startswith("keypointrcnn"):
        raise ModelError("detects keypoints, which no data here has", where=where, remedy="try maskrcnn_resnet50_fpn")
    if not is_detector(name):
        remedy = did_you_mean(name, list_models(module=detection))
        raise ModelError("unknown detector", where=where, remedy=remedy)
    if in_chans != 3:
        raise ModelError("torchvision's models take 3 channels", where=where, remedy="give --in-chans 3")
    if img_size is not None and img_size != _FIXED.get(name, img_size):
        raise ModelError(
            "takes images of one size only",
            where=where,
            expected=f"img_size = {_FIXED[name]}",
            found=str(img_size),
            remedy="use detector:ssd with backbone vgg16",
        )
    _check_size(img_size, where)
    resized = {} if img_size is None or name.startswith("ssd") else {"min_size": img_size, "max_size": img_size}
    _check_known(arguments, _TORCHVISION_CLASSES[name.split("_")[0].rstrip("0123456789")], {*resized}, where)
    normalised = {"image_mean": image_mean, "image_std": image_std}
    model: nn.Module = get_model(
        name,
        weights=None,
        weights_backbone=None,
        num_classes=(num_classes or COCO_CLASSES) + 1,
        **resized,
        **{key: list(value) for key, value in normalised.items() if value is not None},
        **arguments,
    )
    if img_size is not None and name.startswith("ssd"):  # torchvision's builders take no size for these
        transform = model.transform
        assert isinstance(transform, GeneralizedRCNNTransform)
        transform.min_size, transform.max_size = (img_size,), img_size
        transform.fixed_size = (img_size, img_size)
    if pretrained:
        _load_coco(model, get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True), where)
    if frozen_norm:
        model.backbone = timm.layers.freeze_batch_norm_2d(model.backbone)
    return with_exact_boxes(model)


def _load_coco(model: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load torchvision's weights; layers that depend on the number of classes keep their own where it differs.

    Raises:
        CheckpointError: if other layers differ.
    """
    from refconv.models.weights import classifier_names, load_state

    own = model.state_dict()
    # Frozen batch norms, as torchvision trained them, count no batches.
    counts = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    classes = {
        name: own[name] for name in classifier_names(model) if name in state and own[name].shape != state[name].shape
    }
    load_state(model, {**counts, **state, **classes}, where=f"{where}'s own weights")


def build_detector(
    head: str,
    *,
    num_classes: int | None = None,
    in_chans: int = 3,
    backbone: str | None = None,
    pretrained: bool = False,
    img_size: int | None = None,
    frozen_norm: bool = False,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
    strides: Sequence[int] | None = None,
    drop_path_rate: float | None = None,
    **arguments: Any,
) -> nn.Module:
    """Build a detection head on a timm backbone.

    Strides, anchors and widths follow from the image size, such that 800 pixels give those of the papers and 64 still
    work: the smaller the image, the finer the first level.

    Args:
        head: one of :data:`HEADS`.
        num_classes: classes, the background not among them.
        in_chans: input channels.
        backbone: a timm name; any network with ``features_only``.
        pretrained: start the backbone from timm's weights.
        img_size: the side, in pixels, to which the longer side of an image is brought, or both sides for SSD's heads.
            None is 320 for SSD's heads; for the others the shorter side becomes 800 and the longer at most 1333.
        frozen_norm: keep the backbone's batch norms as they are.
        image_mean: per channel, what is subtracted from values in [0, 1]; None takes what timm says of the backbone.
        image_std: per channel, what they are then divided by.
        strides: the levels' strides in pixels, each twice the one before; None lets the image size decide.
        drop_path_rate: stochastic depth of the backbone.
        **arguments: ``width`` (channels of a pyramid level, a multiple of 32), ``anchor_sizes`` (one per level, in
            pixels), ``depth`` (convolutions of FCOS's head), ``min_ratio`` and ``max_ratio`` (SSD's boxes), and those
            of torchvision's class, such as ``score_thresh``.

    Returns:
        A model that takes a list of images [C, H, W] in [0, 1]; in training also a list of targets, and gives losses.

    Raises:
        ModelError: if there is no such head or backbone, or an argument is not possible.

    Example:
        >>> import torch
        >>> model = build_detector("fcos", num_classes=10, backbone="test_resnet", img_size=64)
        >>> sorted(model.eval()([torch.zeros(3, 48, 64)])[0])
        ['boxes', 'labels', 'scores']
    """
    where = f"detector:{head}"
    if head not in HEADS:
        raise ModelError(
            "unknown detection head",
            where=where,
            expected=", ".join(HEADS),
            remedy=did_you_mean(where, [f"detector:{known}" for known in HEADS]),
        )
    _check_size(img_size, where)
    kind = HEADS[head]
    side = img_size or (320 if kind.square else 800)
    wanted = tuple(strides) if strides is not None else kind.strides(side)
    if not wanted or any(after != 2 * before for before, after in itertools.pairwise(wanted)):
        raise ModelError("not strides of levels", where=where, expected="each twice the one before", found=str(wanted))
    own = set(inspect.signature(kind.build).parameters)
    _check_known(arguments, kind.made, own, where)
    dropped = {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
    body, indices = timm_features(
        backbone, wanted, pretrained=pretrained, in_chans=in_chans, frozen_norm=frozen_norm, **dropped
    )
    known = getattr(body, "pretrained_cfg", {})
    mean, std = image_mean or known.get("mean"), image_std or known.get("std")
    model = kind.build(
        _Ground(body, indices, wanted, side, img_size is not None, where),
        num_classes=(num_classes or COCO_CLASSES) + 1,
        image_mean=_per_channel(mean, in_chans, 0.5),
        image_std=_per_channel(std, in_chans, 0.5),
        **arguments,
    )
    return with_exact_boxes(model)


_EXACT = ("backbone", "head", "rpn.head", "roi_heads.box_predictor", "roi_heads.mask_predictor")


def with_exact_boxes(model: nn.Module) -> nn.Module:
    """Let a detector of torchvision compute coordinates and scores in float32 under autocast; return it.

    torchvision lays out anchors and decodes boxes in the dtype of the maps and of the head's outputs. In bf16, with its
    eight bits, a coordinate of 600 pixels would be off by up to two, and many scores would be equal. So what the
    backbone and the heads give is brought to float32; the convolutions inside stay in bf16.
    """
    for name in _EXACT:
        with contextlib.suppress(AttributeError):
            model.get_submodule(name).register_forward_hook(_to_float32)
    return model


def _to_float32(_module: nn.Module, _inputs: Any, outputs: Any) -> Any:
    def exact(value: Any) -> Any:
        half = isinstance(value, Tensor) and value.dtype in {torch.bfloat16, torch.float16}
        return value.float() if half and torch.is_autocast_enabled(value.device.type) else value

    return pytree.tree_map(exact, outputs)


@dataclass(frozen=True)
class _Ground:
    """What a head stands on.

    Attributes:
        body: the backbone.
        indices: which of its maps are levels.
        strides: of all levels, those beyond the backbone among them.
        side: side of the image in pixels.
        exact: whether the longer side of an image becomes ``side``; else the shorter one.
        where: the detector's name, for messages.
    """

    body: nn.Module
    indices: list[int]
    strides: tuple[int, ...]
    side: int
    exact: bool
    where: str

    @property
    def sizes(self) -> dict[str, int]:
        """How torchvision's classes are told about the image size."""
        return {"min_size": self.side, "max_size": self.side if self.exact else 1333}

    @property
    def extra(self) -> int:
        """How many levels the backbone does not have."""
        return len(self.strides) - len(self.indices)

    def pyramid(self, width: int | None, *, pooled: bool) -> FeaturePyramid:
        width = width or (256 if self.side >= 256 else 64)
        if width % 32:  # the heads' group norms have 32 groups
            raise ModelError("not a width", where=self.where, expected="a multiple of 32", found=str(width))
        return FeaturePyramid(self.body, self.indices, width=width, extra=self.extra, pooled=pooled)

    def ladder(self, *, lite: bool) -> FeatureLadder:
        channels = (512, 256, 256, 128)
        extra = [channels[min(number, 3)] for number in range(self.extra)]
        return FeatureLadder(self.body, self.indices, extra=extra, lite=lite)

    def anchors(self, sizes: Sequence[float] | None, factor: float) -> list[float]:
        found = list(sizes) if sizes is not None else [factor * stride for stride in self.strides]
        if len(found) != len(self.strides):
            raise ModelError(
                "not one anchor size per level",
                where=self.where,
                expected=f"{len(self.strides)} for strides {', '.join(map(str, self.strides))}",
                found=str(found),
            )
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
    first = next((stride for stride in (16, 8) if side // stride >= least), 4)
    return _doubling(first, max(side / 2, 32))


def _build_fcos(
    ground: _Ground, *, num_classes: int, width: int | None = None, depth: int = 4, **arguments: Any
) -> nn.Module:
    """FCOS (Tian et al. 2019, arXiv 1904.01355)."""
    pyramid = ground.pyramid(width, pooled=False)
    model: nn.Module = detection.FCOS(
        pyramid,
        num_classes,
        anchor_generator=AnchorGenerator(tuple((s,) for s in ground.strides), ((1.0,),) * len(ground.strides)),
        head=FCOSHead(pyramid.out_channels, 1, num_classes, num_convs=depth),
        **{"score_thresh": 0.05, **ground.sizes, **arguments},
    )
    return model


def _build_retinanet(
    ground: _Ground,
    *,
    num_classes: int,
    width: int | None = None,
    anchor_sizes: Sequence[float] | None = None,
    **arguments: Any,
) -> nn.Module:
    """RetinaNet (Lin et al. 2017, arXiv 1708.02002), with group norm in its heads as in torchvision's v2."""
    pyramid = ground.pyramid(width, pooled=False)
    sizes = tuple(tuple(size * 2 ** (third / 3) for third in range(3)) for size in ground.anchors(anchor_sizes, 4.0))
    anchors = AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes))
    head = RetinaNetHead(
        pyramid.out_channels, anchors.num_anchors_per_location()[0], num_classes, norm_layer=partial(nn.GroupNorm, 32)
    )
    model: nn.Module = detection.RetinaNet(
        pyramid, num_classes, anchor_generator=anchors, head=head, **{**ground.sizes, **arguments}
    )
    return model


def _build_rcnn(
    ground: _Ground,
    *,
    num_classes: int,
    width: int | None = None,
    anchor_sizes: Sequence[float] | None = None,
    masks: bool = False,
    **arguments: Any,
) -> nn.Module:
    """Faster R-CNN (Ren et al. 2015, arXiv 1506.01497) with a pyramid, or Mask R-CNN (arXiv 1703.06870)."""
    pyramid = ground.pyramid(width, pooled=True)
    channels = pyramid.out_channels
    sizes = ground.anchors(anchor_sizes, _rcnn_factor(ground.side))
    names = [str(number) for number in range(len(ground.indices))]
    of_boxes = {
        "rpn_anchor_generator": AnchorGenerator(tuple((s,) for s in sizes), ((0.5, 1.0, 2.0),) * len(sizes)),
        "box_roi_pool": MultiScaleRoIAlign(names, output_size=7, sampling_ratio=2),
        "box_head": TwoMLPHead(channels * 7**2, 4 * channels),
        "box_predictor": FastRCNNPredictor(4 * channels, num_classes),
        **ground.sizes,
        **arguments,
    }
    of_masks = {
        "mask_roi_pool": MultiScaleRoIAlign(names, output_size=14, sampling_ratio=2),
        "mask_head": MaskRCNNHeads(channels, (channels,) * 4, 1),
        "mask_predictor": MaskRCNNPredictor(channels, channels, num_classes),
    }
    kind = detection.MaskRCNN if masks else detection.FasterRCNN
    model: nn.Module = kind(pyramid, **of_boxes, **(of_masks if masks else {}))
    return model


def _build_ssd(
    ground: _Ground,
    *,
    num_classes: int,
    lite: bool = False,
    min_ratio: float | None = None,
    max_ratio: float | None = None,
    **arguments: Any,
) -> nn.Module:
    """SSD (Liu et al. 2016, arXiv 1512.02325), or SSDLite (arXiv 1801.04381)."""
    ladder = ground.ladder(lite=lite)
    count = len(ground.strides)
    # As in the papers, the coarsest and finest of dense SSD's maps go without the ratio 3.
    ratios = [[2, 3] if lite or 0 < number < count - 2 else [2] for number in range(count)]
    least, most = (0.2, 0.95) if lite else (0.15, 0.9)
    boxes = DefaultBoxGenerator(ratios, min_ratio=min_ratio or least, max_ratio=max_ratio or most)
    lite_settings: dict[str, Any] = {}
    if lite:
        anchors = boxes.num_anchors_per_location()
        lite_settings = {
            "head": SSDLiteHead(ladder.out_channels, anchors, num_classes, LITE_NORM),
            "score_thresh": 0.001,
            "nms_thresh": 0.55,
            "detections_per_img": 300,
            "topk_candidates": 300,
        }
    size = (ground.side, ground.side)
    model: nn.Module = SSD(ladder, boxes, size, num_classes, **{**lite_settings, **arguments})
    return model


@dataclass(frozen=True)
class _Head:
    """A detection head.

    Attributes:
        build: what makes it.
        made: torchvision's class, whose arguments the user may give.
        strides: from an image side to the strides of the levels.
        square: whether images are warped to a square.
    """

    build: Callable[..., nn.Module]
    made: type[nn.Module]
    strides: Callable[[int], tuple[int, ...]]
    square: bool = False


HEADS: Mapping[str, _Head] = {
    "ssdlite": _Head(partial(_build_ssd, lite=True), SSD, partial(_ladder_strides, 16), square=True),
    "ssd": _Head(_build_ssd, SSD, partial(_ladder_strides, 32), square=True),
    "fasterrcnn": _Head(_build_rcnn, detection.FasterRCNN, _rcnn_strides),
    "maskrcnn": _Head(partial(_build_rcnn, masks=True), detection.MaskRCNN, _rcnn_strides),
    "retinanet": _Head(_build_retinanet, detection.RetinaNet, _one_stage_strides),
    "fcos": _Head(_build_fcos, detection.FCOS, _one_stage_strides),
}
"""The heads by name."""

_TORCHVISION_CLASSES = {
    "ssd": SSD,
    "ssdlite": SSD,
    "fasterrcnn": detection.FasterRCNN,
    "maskrcnn": detection.MaskRCNN,
    "retinanet": detection.RetinaNet,
    "fcos": detection.FCOS,
}

_OURS = {
    *("self", "kwargs", "ground", "masks", "lite", "backbone", "num_classes", "size", "min_size", "max_size", "head"),
    *("anchor_generator", "proposal_matcher", "box_head", "box_predictor", "box_roi_pool", "rpn_anchor_generator"),
    *("rpn_head", "mask_head", "mask_predictor", "mask_roi_pool", "arguments", "image_mean", "image_std"),
}
"""Arguments of torchvision's classes, and of our functions, that are no plain values or are decided here."""


def _check_known(arguments: Mapping[str, Any], made: type[nn.Module], own: set[str], where: str) -> None:
    """Refuse arguments that nobody would read: torchvision's classes swallow unknown ones.

    Raises:
        ModelError: naming the first.
    """
    parents = [made, detection.FasterRCNN] if issubclass(made, detection.FasterRCNN) else [made]
    known = {name for kind in parents for name in inspect.signature(kind.__init__).parameters} | own
    known -= _OURS
    for name in arguments:
        if name not in known:
            hint = "what trains is said by --train" if name == "trainable_backbone_layers" else None
            raise ModelError(
                "unknown argument",
                where=f"{where}, {name}",
                expected=", ".join(sorted(known)),
                remedy=hint or did_you_mean(name, sorted(known)),
            )


def _check_size(img_size: int | None, where: str) -> None:
    if img_size is not None and img_size < LEAST_SIZE:
        raise ModelError(
            "images too small for a detector",
            where=where,
            expected=f"img_size of at least {LEAST_SIZE}",
            found=str(img_size),
        )


def _per_channel(values: Sequence[float] | None, channels: int, default: float) -> list[float]:
    """Return one value per channel; timm speaks of three."""
    values = list(values) if values else [default]
    return values if len(values) == channels else [sum(values) / len(values)] * channels
