"""The tasks by name; one is imported when it is first asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from refconv.recipe.recipe import Recipe
    from refconv.tasks.task import Task

_HOMES = {
    "classification": "Classification",
    "detection": "Detection",
    "segmentation": "Segmentation",
    "restoration": "Restoration",
}


def task_named(name: str) -> Task:
    """Return a task by name.

    Raises:
        KeyError: if there is none of this name.
    """
    kind = _HOMES[name]
    task: Task = getattr(importlib.import_module(f"refconv.tasks.{name}.task"), kind)()
    return task


def task_of(recipe: Recipe) -> Task:
    """Return the task that a recipe names, after checking the recipe's settings against it.

    Raises:
        RecipeError: if a setting does not go with the task.
    """
    task = task_named(recipe.task)
    task.check(recipe)
    return task
