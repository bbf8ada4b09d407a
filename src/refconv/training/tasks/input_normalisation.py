"""How a detector normalises images: as the recipe says, or as the classifier did that its backbone starts from.

Detectors normalise images themselves; the data leaves them as they are, and says mean 0 and standard deviation 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from refconv.errors import CheckpointError
from refconv.training.data import DataInfo
from refconv.training.data.memory import per_channel
from refconv.training.recipe import Recipe


def is_normalised(info: DataInfo) -> bool:
    """Say whether the facts tell the model how to normalise images, which the data leaves as they are."""
    return any(info.mean) or any(value != 1 for value in info.std)


def normalisation(recipe: Recipe, info: DataInfo) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and std that the model shall use: the recipe's, or those of the classifier in its backbone.

    Where neither says anything they stay what the data says: 0 and 1.

    Raises:
        DataError: if there are neither one nor as many as channels.
        CheckpointError: if the classifier is not there.
    """
    if recipe.mean is not None and recipe.std is not None:
        given = {"mean": recipe.mean, "std": recipe.std}
        mean, std = (per_channel(values, info.in_chans, where=name) for name, values in given.items())
        return mean, std
    known = {} if recipe.backbone_checkpoint is None else _classifiers_normalisation(recipe.backbone_checkpoint)
    mean, std = (tuple(float(value) for value in known.get(key) or ()) for key in ("mean", "std"))
    return (mean, std) if len(mean) == len(std) == info.in_chans else (info.mean, info.std)


def _classifiers_normalisation(reference: str) -> Mapping[str, Any]:
    """Return what a run or model folder says about its input; of bare weights nothing is known.

    Raises:
        CheckpointError: if there is nothing of this name, or it is damaged.
    """
    from refconv.training.checkpoint import Checkpoint
    from refconv.training.model_folder import is_model_folder, read_config
    from refconv.training.weights import is_run_checkpoint

    path = Path(reference.removeprefix("local-dir:"))
    for folder in (path / "model", path):
        if is_model_folder(folder):
            known: Mapping[str, Any] = read_config(folder).get("pretrained_cfg", {})
            return known
    file = path / "checkpoint.pt" if path.is_dir() else path
    if not file.is_file():
        raise CheckpointError(
            "no such run, model folder or file of weights",
            where=reference,
            expected="the classifier whose normalisation and weights the backbone takes over",
        )
    return dataclasses.asdict(Checkpoint.load(file).data_info()) if is_run_checkpoint(file) else {}
