"""Training: recipes, data, models and the loop; the only package that imports timm and torchvision.

The names below load what they need when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refconv.training.evaluation import Evaluation, evaluate
    from refconv.training.loop import train
    from refconv.training.recipe import Recipe
    from refconv.training.run_record import RunRecord

__all__ = ["Evaluation", "Recipe", "RunRecord", "evaluate", "train"]

_HOMES = {
    "Evaluation": "evaluation",
    "Recipe": "recipe",
    "RunRecord": "run_record",
    "evaluate": "evaluation",
    "train": "loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
