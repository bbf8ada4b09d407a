"""Detectors on any timm backbone, and the scores that detectors keep.

What makes a detector is plain values, so that a model folder can build it again.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from refconv.errors import ModelError, did_you_mean
from refconv.models.detection_heads import COCO_CLASSES, HEADS, Levels, check_known, check_size, with_exact_boxes
from refconv.models.pyramid import timm_features

_THRESHOLD = "score_thresh"  # where torchvision keeps the minimum score of a detection


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
    check_size(img_size, where)
    kind = HEADS[head]
    side = img_size or (320 if kind.square else 800)
    wanted = tuple(strides) if strides is not None else kind.strides(side)
    if not wanted or any(after != 2 * before for before, after in itertools.pairwise(wanted)):
        raise ModelError("invalid strides", where=where, expected="each twice the one before", found=str(wanted))
    own = set(inspect.signature(kind.build).parameters)
    check_known(arguments, kind.made, own, where)
    dropped = {} if drop_path_rate is None else {"drop_path_rate": drop_path_rate}
    body, indices = timm_features(
        backbone, wanted, pretrained=pretrained, in_chans=in_chans, frozen_norm=frozen_norm, **dropped
    )
    known = getattr(body, "pretrained_cfg", {})
    mean, std = image_mean or known.get("mean"), image_std or known.get("std")
    model = kind.build(
        Levels(body, indices, wanted, side, img_size is not None, where),
        num_classes=(num_classes or COCO_CLASSES) + 1,
        image_mean=_per_channel(mean, in_chans, 0.5),
        image_std=_per_channel(std, in_chans, 0.5),
        **arguments,
    )
    return with_exact_boxes(model)


def _per_channel(values: Sequence[float] | None, channels: int, default: float) -> list[float]:
    """Return one value per channel; timm speaks of three."""
    values = list(values) if values else [default]
    return values if len(values) == channels else [sum(values) / len(values)] * channels
