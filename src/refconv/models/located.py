"""What a path holds: a model folder, the checkpoint of a run, or plain weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from refconv.models.builders import arguments_with_weights
from refconv.models.checkpoint import Checkpoint
from refconv.models.model_folder import LOCAL, is_model_folder, read_config
from refconv.models.run_folder import RunFolder
from refconv.models.weight_files import is_run_checkpoint, missing
from refconv.recipe.recipe import Recipe


@dataclass(frozen=True)
class Located:
    """What a path holds: a model folder, the resumable state of a run, or a file or folder of weights."""

    kind: Literal["folder", "checkpoint", "weights"]
    path: Path
    run: RunFolder | None = None  # the run that a model folder is the result of

    def recipe(self) -> Recipe | None:
        """Return the recipe of the run that a model folder is the result of, where it is known."""
        return self.run.recipe() if self.run is not None and self.run.recipe_file.is_file() else None

    def class_names(self) -> tuple[str, ...]:
        """Return the names of the classes that the weights were trained for; empty where they are not known."""
        if self.kind == "folder":
            return tuple(read_config(self.path).get("label_names") or ())
        return Checkpoint.load(self.path).data_info().class_names if self.kind == "checkpoint" else ()

    def arguments(self, model: str) -> Mapping[str, Any]:
        """Return the further arguments that a model of this name was built with; empty where they are not known."""
        if self.kind == "folder":
            config = read_config(self.path)
            return config.get("model_args", {}) if config["architecture"] == model else {}
        recipe = Checkpoint.load(self.path).trained_by() if self.kind == "checkpoint" else None
        if recipe is None or recipe.model != model:
            return {}
        return {**(arguments_with_weights(model) if recipe.pretrained else {}), **recipe.model_kwargs}


def locate(reference: str | Path) -> Located | None:
    """Find what a path holds; None if nothing is there.

    The path is a run folder (its result, or its last checkpoint if it has not finished), a run's ``checkpoint.pt``, a
    model folder with or without ``local-dir:`` before it, or a file or folder of weights.
    """
    path = Path(str(reference).removeprefix(LOCAL))
    run = RunFolder(path)
    if is_model_folder(run.model_folder):
        return Located("folder", run.model_folder, run)
    if is_model_folder(path):
        return Located("folder", path, run)
    file = run.checkpoint_file if run.checkpoint_file.is_file() else path
    if not file.exists():
        return None
    return Located("checkpoint" if file.is_file() and is_run_checkpoint(file) else "weights", file)


def located(reference: str | Path) -> Located:
    """Find what a path holds, or say that nothing is there; see :func:`locate`."""
    found = locate(reference)
    if found is None:
        raise missing(Path(reference), "no such file, run or model folder")
    return found
