"""Detectors by name: a detection head on any timm backbone, or torchvision's own.

A detector takes a list of images [C, H, W] in [0, 1]; in training also a list of targets, and returns losses.
``num_classes`` counts the classes of the data; torchvision's constructors also count the background, as class 0.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import timm.layers
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torchvision.models import detection, get_model, get_model_weights
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from refconv.errors import ModelError, did_you_mean
from refconv.models.detection_heads import HEADS, Levels, timm_features
from refconv.models.weights import load_published

_COCO_CLASSES = 90  #: Classes where none are asked for, as in torchvision: the category ids of COCO go up to 90
_LEAST_SIZE = 32  #: The smallest image side that the heads are built for, in pixels
_THRESHOLD = "score_thresh"  # where torchvision keeps the minimum score of a detection
_FIXED = {"ssd300_vgg16": 300}  # its last maps have no padding, and its boxes are laid out for this size
_EXACT = ("backbone", "head", "rpn.head", "roi_heads.box_predictor", "roi_heads.mask_predictor")

_OURS = {
    *("self", "kwargs", "backbone", "num_classes", "size", "min_size", "max_size", "head"),
    *("anchor_generator", "proposal_matcher", "box_head", "box_predictor", "box_roi_pool", "rpn_anchor_generator"),
    *("rpn_head", "mask_head", "mask_predictor", "mask_roi_pool", "image_mean", "image_std"),
}
"""Arguments of torchvision's classes that are no plain values or are decided here."""


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
    """Build a detection head on a timm backbone with ``features_only``.

    ``img_size`` is the side, in pixels, to which the longer side of an image is brought, or both sides for SSD's heads.
    None is 320 for SSD's heads; for the others the shorter side becomes 800 and the longer at most 1333. Strides,
    anchors and widths follow from it: 800 pixels give those of the papers, and smaller images a finer first level.
    Further ``arguments`` are ``width`` (channels of a pyramid level, a multiple of 32), ``anchor_sizes`` (one per
    level, in pixels), ``depth`` (convolutions of FCOS's head), ``min_ratio`` and ``max_ratio`` (SSD's boxes), and those
    of torchvision's class.
    """
    where = f"detector:{head}"
    if head not in HEADS:
        remedy = did_you_mean(where, [f"detector:{known}" for known in HEADS])
        raise ModelError("unknown detection head", where=where, expected=", ".join(HEADS), remedy=remedy)
    _check_size(img_size, where)
    kind = HEADS[head]
    side = img_size or (320 if kind.square else 800)
    wanted = tuple(strides) if strides is not None else kind.strides(side)
    if not wanted or any(after != 2 * before for before, after in itertools.pairwise(wanted)):
        raise ModelError("invalid strides", where=where, expected="each twice the one before", found=str(wanted))
    _check_known(arguments, kind.made, kind.own, where)
    dropped = {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
    body, indices = timm_features(
        backbone, wanted, pretrained=pretrained, in_chans=in_chans, frozen_norm=frozen_norm, **dropped
    )
    known = getattr(body, "pretrained_cfg", {})
    given = (arguments.pop("width", None), arguments.pop("anchor_sizes", None))
    levels = Levels(body, indices, wanted, side, img_size is not None, where, *given)
    arguments["image_mean"] = _per_channel(image_mean or known.get("mean"), in_chans)
    arguments["image_std"] = _per_channel(image_std or known.get("std"), in_chans)
    return _with_exact_boxes(kind.build(levels, (num_classes or _COCO_CLASSES) + 1, **arguments))


def _per_channel(values: Sequence[float] | None, channels: int) -> list[float]:
    """Return one value per channel; timm speaks of three."""
    values = list(values) if values else [0.5]
    return values if len(values) == channels else [sum(values) / len(values)] * channels


def build_torchvision_detector(
    name: str,
    *,
    num_classes: int | None = None,
    pretrained: bool = False,
    img_size: int | None = None,
    frozen_norm: bool = False,
    image_mean: Sequence[float] | None = None,
    image_std: Sequence[float] | None = None,
    **arguments: Any,
) -> nn.Module:
    """Build one of torchvision's detectors, such as ``fasterrcnn_resnet50_fpn``, all of its layers trainable.

    Its weights for COCO are loaded if ``pretrained`` asks for them; the layers that depend on the classes start anew
    unless there are 90. ``img_size`` is as in :func:`build_detector`; None leaves torchvision's choice. ``frozen_norm``
    keeps the backbone's batch norms as they are, as torchvision does with pretrained ones.
    """
    where = f"torchvision:{name}"
    if name.startswith("keypointrcnn"):
        raise ModelError("keypoint detection is not supported", where=where, remedy="try maskrcnn_resnet50_fpn")
    if img_size is not None and img_size != _FIXED.get(name, img_size):
        what, remedy = "takes images of one size only", "use detector:ssd with backbone vgg16"
        raise ModelError(what, where=where, expected=f"img_size = {_FIXED[name]}", found=str(img_size), remedy=remedy)
    _check_size(img_size, where)
    ssd = name.startswith("ssd")
    resized = {} if img_size is None or ssd else {"min_size": img_size, "max_size": img_size}
    _check_known(arguments, HEADS[name.split("_")[0].rstrip("0123456789")].made, resized, where)
    given = {"image_mean": image_mean, "image_std": image_std}
    normalised = {key: list(value) for key, value in given.items() if value is not None}
    settings = {"num_classes": (num_classes or _COCO_CLASSES) + 1, **resized, **normalised, **arguments}
    model: nn.Module = get_model(name, weights=None, weights_backbone=None, **settings)
    if img_size is not None and ssd:  # torchvision's builders take no size for these
        transform = model.transform
        assert isinstance(transform, GeneralizedRCNNTransform)
        transform.min_size, transform.max_size = (img_size,), img_size
        transform.fixed_size = (img_size, img_size)
    if pretrained:
        load_published(model, get_model_weights(name).DEFAULT.get_state_dict(progress=False, check_hash=True), where)
    if frozen_norm:
        model.backbone = timm.layers.freeze_batch_norm_2d(model.backbone)
    return _with_exact_boxes(model)


def _check_known(arguments: Mapping[str, Any], made: type[nn.Module], own: Iterable[str], where: str) -> None:
    """Refuse arguments that nobody would read: torchvision's classes swallow unknown ones."""
    parents = [made, detection.FasterRCNN] if issubclass(made, detection.FasterRCNN) else [made]
    known = {name for kind in parents for name in inspect.signature(kind.__init__).parameters} - _OURS | set(own)
    for name in arguments:
        if name == "trainable_backbone_layers":
            raise ModelError("unknown argument", where=f"{where}, {name}", remedy="what trains is said by --train")
        if name not in known:
            expected, remedy = ", ".join(sorted(known)), did_you_mean(name, sorted(known))
            raise ModelError("unknown argument", where=f"{where}, {name}", expected=expected, remedy=remedy)


def _check_size(img_size: int | None, where: str) -> None:
    if img_size is not None and img_size < _LEAST_SIZE:
        expected = f"img_size of at least {_LEAST_SIZE}"
        raise ModelError("images too small for a detector", where=where, expected=expected, found=str(img_size))


def _with_exact_boxes(model: nn.Module) -> nn.Module:
    """Let a detector of torchvision compute coordinates and scores in float32 under autocast; return it.

    torchvision lays out anchors and decodes boxes in the dtype of the maps and of the head's outputs. In bf16, with its
    eight bits, a coordinate of 600 pixels would be off by up to two, and many scores would be equal. So the outputs of
    the backbone and the heads are converted to float32; the convolutions inside stay in bf16.
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
