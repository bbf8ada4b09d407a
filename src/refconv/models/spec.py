"""What a model is built from, as one value: its builder's name, its ends, dropout and further arguments."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from refconv.data import DataInfo
from refconv.models.builders import address, arguments_with_weights, build
from refconv.models.model_folder import LOCAL, architecture_of, build_from_folder
from refconv.recipe.recipe import Recipe


@dataclass(frozen=True)
class ModelSpec:
    """What a model is built from."""

    name: str
    num_classes: int | None = None
    in_chans: int | None = None
    drop_rate: float = 0.0
    drop_path_rate: float | None = None
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def of_run(cls, recipe: Recipe, info: DataInfo) -> ModelSpec:
        """Return what the model of a run is built from, whatever weights the run starts from."""
        return cls(
            recipe.model,
            num_classes=recipe.num_classes or info.num_classes or None,
            in_chans=info.in_chans,
            drop_rate=recipe.drop,
            drop_path_rate=recipe.drop_path,
            model_kwargs=_model_kwargs(recipe, info),
        )

    def build(self, *, pretrained: bool = False) -> nn.Module:
        """Build the model, with fresh weights or with those that its builder offers."""
        arguments = {
            "num_classes": self.num_classes,
            "in_chans": self.in_chans,
            "drop_rate": self.drop_rate or None,
            "drop_path_rate": self.drop_path_rate,
            **self.model_kwargs,
        }
        if self.name.startswith(LOCAL):
            return build_from_folder(self.name.removeprefix(LOCAL), pretrained=pretrained, **arguments)
        return build(self.name, pretrained=pretrained, **arguments)


def _model_kwargs(recipe: Recipe, info: DataInfo) -> dict[str, Any]:
    """Return the arguments of a run's builder beyond the ends of the network and dropout: the task's and the user's.

    They are saved with the model, so they must be plain values.
    """
    for_task = {"detection": _of_detector, "restoration": _of_restorer}.get(recipe.task)
    own = {} if for_task is None else for_task(recipe, info)
    backbone = {} if recipe.backbone is None else {"backbone": recipe.backbone}
    weights = arguments_with_weights(recipe.model) if recipe.pretrained else {}
    return {**own, **backbone, **weights, **recipe.model_kwargs}


def _of_detector(recipe: Recipe, info: DataInfo) -> dict[str, Any]:
    """Return the image size of detectors, and the normalisation, which they do themselves."""
    source = architecture_of(recipe.model).partition(":")[0]
    arguments: dict[str, Any] = {}
    if source == "detector" and not recipe.model.startswith(LOCAL):
        arguments["img_size"] = info.input_size[-1]
    elif source in {"detector", "torchvision"} and recipe.img_size is not None:
        arguments["img_size"] = recipe.img_size
    normalises = any(info.mean) or any(value != 1 for value in info.std)
    if source in {"detector", "torchvision"} and normalises:
        arguments |= {"image_mean": list(info.mean), "image_std": list(info.std)}
    return arguments


def _of_restorer(recipe: Recipe, info: DataInfo) -> dict[str, Any]:
    """Give the project's own restorers the factor, if they enlarge, and smp's decoders as many outputs as inputs."""
    from refconv.models import restorers

    home, _, function = address(recipe.model).partition(":")
    if home == "smp":
        return {"num_classes": info.in_chans}
    builder = getattr(restorers, function, None) if home == restorers.__name__ else None
    if builder is None or "upscale" not in inspect.signature(builder).parameters:
        return {}
    return {"upscale": recipe.upscale}
