"""Architectures by name, and the fresh plain model of a run; weights from files are another matter (models.py)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from refconv.training.builders import arguments_with_weights, build
from refconv.training.data import DataInfo
from refconv.training.model_folder import build_from_folder
from refconv.training.recipe import Recipe
from refconv.training.tasks.registry import task_named

LOCAL = "local-dir:"
"""timm's prefix of a folder that holds a model."""


def create_architecture(
    name: str,
    *,
    pretrained: bool = False,
    num_classes: int | None = None,
    in_chans: int | None = None,
    drop_rate: float = 0.0,
    drop_path_rate: float | None = None,
    model_kwargs: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Build a model by name; for the arguments see :func:`refconv.training.models.create_model`.

    Raises:
        ModelError: if the name is unknown, or the builder fails.
        CheckpointError: if a folder's weights cannot be read or do not fit.
    """
    arguments = {
        "num_classes": num_classes,
        "in_chans": in_chans,
        "drop_rate": drop_rate or None,
        "drop_path_rate": drop_path_rate,
        **(model_kwargs or {}),
    }
    if name.startswith(LOCAL):
        return build_from_folder(name.removeprefix(LOCAL), pretrained=pretrained, **arguments)
    return build(name, pretrained=pretrained, **arguments)


def untrained_model(recipe: Recipe, info: DataInfo) -> nn.Module:
    """Return a fresh plain model of a run, whatever weights the run started from.

    Raises:
        ModelError: if it cannot be built.
    """
    return create_architecture(
        recipe.model,
        num_classes=recipe.num_classes or info.num_classes or None,
        in_chans=info.in_chans,
        drop_rate=recipe.drop,
        drop_path_rate=recipe.drop_path,
        model_kwargs=model_arguments(recipe, info),
    )


def model_arguments(recipe: Recipe, info: DataInfo) -> dict[str, Any]:
    """Return the arguments of a run's builder beyond the ends of the network and dropout: the task's and the user's."""
    backbone = {} if recipe.backbone is None else {"backbone": recipe.backbone}
    weights = arguments_with_weights(recipe.model) if recipe.pretrained else {}
    return {**task_named(recipe.task).model_arguments(recipe, info), **backbone, **weights, **recipe.model_kwargs}
