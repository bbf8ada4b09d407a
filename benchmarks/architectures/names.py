"""Every model name of timm and torchvision, and how each one is built."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import timm
import torchvision
from torch import nn

# With fresh weights no detector is sure of anything: without these its outputs would be empty and equal to anything.
_DETECTORS = {
    "maskrcnn": {"box_score_thresh": 0.0},
    "fasterrcnn": {"box_score_thresh": 0.0},
    "keypointrcnn": {"box_score_thresh": 0.0},
    "retinanet": {"score_thresh": 0.0},
    "fcos": {"score_thresh": 0.0},
    "ssd": {"score_thresh": 0.0},
}
_INITIALISED = ("googlenet", "inception_v3")  # warn unless they are told to draw their weights


@dataclass(frozen=True, order=True)
class Name:
    """The name of a model in its library, ``timm`` or ``torchvision``."""

    library: str
    name: str

    def __str__(self) -> str:
        return f"{self.library}:{self.name}"


def every_name() -> list[Name]:
    """Return every model name that the two libraries list."""
    libraries = {"timm": timm.list_models(), "torchvision": torchvision.models.list_models()}
    return [Name(library, name) for library, names in libraries.items() for name in names]


def family(name: Name) -> str:
    """Return the family of an architecture: the module of its library that defines it."""
    if name.library == "timm":
        module: str = timm.model_entrypoint(name.name).__module__
        return module.removeprefix("timm.models.")
    return str(_builder(name).__module__).removeprefix("torchvision.models.")


def build(name: Name) -> nn.Module:
    """Build a model as its factory does by default, with fresh weights.

    Detectors differ from the default in one thing: they report even the boxes that they do not believe in.
    """
    if name.library == "timm":
        model: nn.Module = timm.create_model(name.name, pretrained=False)
        return model
    builder = _builder(name)
    parameters = inspect.signature(builder).parameters
    options: dict[str, Any] = {"weights": None}
    if "weights_backbone" in parameters:
        options["weights_backbone"] = None
    if name.name in _INITIALISED:
        options["init_weights"] = True
    if ".detection." in builder.__module__:
        options |= next(extra for stem, extra in _DETECTORS.items() if name.name.startswith(stem))
    built: nn.Module = builder(**options)
    return built


def _builder(name: Name) -> Any:
    return torchvision.models.get_model_builder(name.name)
