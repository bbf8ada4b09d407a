"""The model of a run in the state of its checkpoint: refocused, if it was being refocused."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from torch import nn

from refconv.data import DataInfo
from refconv.data.preprocessing import Statement
from refconv.methods.registry import method_of
from refconv.models.builders import check_named_in_file
from refconv.models.checkpoint import Checkpoint, load_model_state
from refconv.models.model_input import of_checkpoint
from refconv.models.spec import ModelSpec
from refconv.recipe.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Restored:
    """A model out of a checkpoint.

    Attributes:
        model: the model; the average of the weights, where the run keeps one.
        recipe: the recipe of the run.
        info: the facts about its data, with the model's own number of classes.
        step: steps that the run had taken.
        stated: how the run prepares its data.
    """

    model: nn.Module
    recipe: Recipe
    info: DataInfo
    step: int
    stated: Statement


def restore(path: Path | str) -> Restored:
    """Rebuild the model of a run's checkpoint.

    Args:
        path: a run's ``checkpoint.pt``.

    Raises:
        CheckpointError: if the file cannot be read, would run code, or does not fit its own recipe.
        ModelError: if the model cannot be built, or its name would have another function called.
    """
    checkpoint = Checkpoint.load(Path(path))
    recipe, info = checkpoint.trained_by(), checkpoint.data_info()
    check_named_in_file(recipe.model)
    model = ModelSpec.of_run(recipe, info).build()
    method_of(recipe).prepare(model)
    state = checkpoint.model if checkpoint.model_ema is None else checkpoint.model_ema
    load_model_state(model, state, where=str(path))
    classes = recipe.num_classes or info.num_classes
    if classes != info.num_classes:
        info = dataclasses.replace(info, num_classes=classes)
    return Restored(model, recipe, info, checkpoint.step, of_checkpoint(recipe, info, checkpoint.preprocessing))
