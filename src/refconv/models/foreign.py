"""Refocused weights of other training programs: merged, and written as a model folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from refconv.data import DataInfo
from refconv.data.preprocessing import FLAGS, Preprocessing, Statement, resolve
from refconv.errors import CheckpointError
from refconv.models.creation import create_model, load_weights
from refconv.models.model_folder import save_model_folder
from refconv.models.model_input import channels_of, of_builder, of_weights
from refconv.models.weight_files import read_weights
from refconv.models.weights import classifier_names
from refconv.surgery import in_kernel_space, plain_state_dict, says_settings


class Merged(NamedTuple):
    """What a file of refocused weights was merged to."""

    model: nn.Module
    preprocessing: Preprocessing
    told: bool


def merge_weights(
    file: Path,
    name: str,
    out: Path,
    *,
    settings: Mapping[str, Any],
    flags: Mapping[str, Any] | None = None,
    num_classes: int | None = None,
    in_chans: int | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> Merged:
    """Merge a file of refocused weights and write the plain model."""
    weights = read_weights(file)
    if not in_kernel_space(weights):
        raise CheckpointError(
            "holds plain weights, so there is nothing to merge",
            where=str(file),
            expected="a run's checkpoint, or weights of a refocused model",
        )
    model = create_model(name, num_classes=num_classes, in_chans=in_chans, model_kwargs=model_kwargs or {})
    load_weights(model, file, settings=settings)
    state = plain_state_dict(model)
    stated = (Statement(FLAGS, flags or {}), of_weights(file) or of_builder(name, model))
    used = resolve(stated, in_chans=channels_of(stated, in_chans), where=str(file))
    classes = num_classes or getattr(model, "num_classes", None) or len(state[sorted(classifier_names(model))[0]])
    info = DataInfo(
        name=str(file), num_classes=classes, in_chans=used.in_chans, input_size=used.input_size, mean=used.mean,
        std=used.std, class_names=(), train_size=0, val_size=0, test_size=0,
    )  # fmt: skip
    save_model_folder(
        out, state, name=name, info=info, model_kwargs=model_kwargs or {}, preprocessing=used.as_pretrained_cfg()
    )
    return Merged(model, used, says_settings(weights))
