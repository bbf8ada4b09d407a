"""Refocused weights of other training programs: merged, and written as a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from torch import nn

from refconv.errors import CheckpointError
from refconv.surgery import in_kernel_space, plain_state_dict
from refconv.training.data import DataInfo
from refconv.training.model_folder import save_model_folder
from refconv.training.models import create_model, load_weights
from refconv.training.weights import classifier_names, read_weights


def merge_weights(
    file: Path,
    name: str,
    out: Path,
    *,
    settings: Mapping[str, Any],
    img_size: int | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Merge a file of refocused weights and write the plain model.

    Args:
        file: the file.
        name: the model's name as :func:`refconv.training.models.create_model` takes it.
        out: the model folder to write.
        settings: what the file does not say itself; see :func:`refconv.surgery.merged_state`.
        img_size: image side, for config.json; by default that of the model's own pretrained weights, else 224.
        num_classes: classes; None is the builder's default.
        in_chans: input channels; None is the builder's default.
        model_kwargs: further arguments of the builder.

    Returns:
        The plain model.

    Raises:
        CheckpointError: if nothing in the file is refocused, it does not fit the model, or a setting is missing.
    """
    if not in_kernel_space(read_weights(file)):
        raise CheckpointError(
            "holds plain weights, so there is nothing to merge",
            where=str(file),
            expected="a run's checkpoint, or weights of a refocused model",
        )
    model = create_model(name, num_classes=num_classes, in_chans=in_chans, model_kwargs=model_kwargs)
    load_weights(model, file, settings=settings)
    state = plain_state_dict(model)
    known: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    channels, height, width = known.get("input_size", (in_chans or 3, 224, 224))
    size = (in_chans or channels, img_size or height, img_size or width)
    mean, std = (
        known.get(key, usual) for key, usual in (("mean", IMAGENET_DEFAULT_MEAN), ("std", IMAGENET_DEFAULT_STD))
    )
    if len(mean) != size[0]:
        mean, std = (sum(values) / len(values) for values in (mean, std))
        mean, std = (mean,) * size[0], (std,) * size[0]
    classes = num_classes or getattr(model, "num_classes", None) or len(state[sorted(classifier_names(model))[0]])
    info = DataInfo(
        name=str(file), num_classes=classes, in_chans=size[0], input_size=size, mean=tuple(mean), std=tuple(std),
        class_names=(), train_size=0, val_size=0, test_size=0,
    )  # fmt: skip
    kept = {key: known[key] for key in ("crop_pct", "interpolation") if key in known}
    save_model_folder(out, state, name=name, info=info, model_kwargs=model_kwargs or {}, preprocessing=kept)
    return model
