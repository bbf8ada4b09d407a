"""The tasks by name: ``captioning`` would be the class ``Captioning`` in ``refconv/tasks/captioning/task.py``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from refconv.task_measures import TASKS

if TYPE_CHECKING:
    from refconv.recipe.recipe import Recipe
    from refconv.tasks.task import Task


def task_named(name: str) -> Task:
    """Import and return a task, one of :data:`refconv.task_measures.TASKS`; KeyError if there is none of this name."""
    if name not in TASKS:
        raise KeyError(name)
    task: Task = getattr(importlib.import_module(f"refconv.tasks.{name}.task"), name.capitalize())()
    return task


def task_of(recipe: Recipe) -> Task:
    """Return the task that a recipe names, after checking the recipe's settings against it."""
    task = task_named(recipe.task)
    task.check(recipe)
    return task
