"""Training: the loop, its steps and epochs, exact resumption, and the record of a run.

The names below load what they need when they are first used, so that importing the package costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refconv.engine.loop import train
    from refconv.engine.run_record import RunRecord
    from refconv.recipe.recipe import Recipe
    from refconv.tasks.classification.task import evaluate
    from refconv.tasks.evaluation import Evaluation

__all__ = ["Evaluation", "Recipe", "RunRecord", "evaluate", "train"]

_HOMES = {
    "Evaluation": "refconv.tasks.evaluation",
    "Recipe": "refconv.recipe.recipe",
    "RunRecord": "refconv.engine.run_record",
    "evaluate": "refconv.tasks.classification.task",
    "train": "refconv.engine.loop",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
