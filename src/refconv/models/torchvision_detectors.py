"""torchvision's own detectors by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import timm.layers
from torch import Tensor, nn
from torchvision.models import detection, get_model, get_model_weights, list_models
from torchvision.models.detection.ssd import SSD
from torchvision.models.detection.transform import GeneralizedRCNNTransform

from refconv.errors import ModelError
from refconv.models.detection_heads import COCO_CLASSES, check_known, check_size, with_exact_boxes
from refconv.models.weights import classifier_names, load_state

_FIXED = {"ssd300_vgg16": 300}  # its last maps have no padding, and its boxes are laid out for this size

_TORCHVISION_CLASSES = {
    "ssd": SSD,
    "ssdlite": SSD,
    "fasterrcnn": detection.FasterRCNN,
    "maskrcnn": detection.MaskRCNN,
    "retinanet": detection.RetinaNet,
    "fcos": detection.FCOS,
}


def is_detector(name: str) -> bool:
    """Say whether torchvision has a detector of this name."""
    return name in list_models(module=detection)


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
    """Build one of torchvision's detectors.

    Nothing is downloaded unless ``pretrained`` asks for it, and no layer is frozen: what trains is the recipe's choice.
    """
    where = f"torchvision:{name}"
    if name.startswith("keypointrcnn"):
        raise ModelError("keypoint detection is not supported", where=where, remedy="try maskrcnn_resnet50_fpn")
    if img_size is not None and img_size != _FIXED.get(name, img_size):
        raise ModelError(
            "takes images of one size only",
            where=where,
            expected=f"img_size = {_FIXED[name]}",
            found=str(img_size),
            remedy="use detector:ssd with backbone vgg16",
        )
    check_size(img_size, where)
    resized = {} if img_size is None or name.startswith("ssd") else {"min_size": img_size, "max_size": img_size}
    check_known(arguments, _TORCHVISION_CLASSES[name.split("_")[0].rstrip("0123456789")], {*resized}, where)
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
    """Load torchvision's weights; layers that depend on the number of classes keep their own where it differs."""
    own = model.state_dict()
    # Frozen batch norms, as torchvision trained them, count no batches.
    counts = {name: value for name, value in own.items() if name.endswith("num_batches_tracked")}
    classes = {
        name: own[name] for name in classifier_names(model) if name in state and own[name].shape != state[name].shape
    }
    load_state(model, {**counts, **state, **classes}, where=f"{where}'s own weights")
