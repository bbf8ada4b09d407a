"""Checkpoints: the resumable state of a run in one file, written whole or not at all, read without running code.

Nothing random is stored. Order, augmentation and every step are seeded from the recipe's seed and counters, so one
number, ``step``, says where the run is.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refconv.data import DataInfo
from refconv.errors import CheckpointError, RecipeError, RunError
from refconv.models.run_folder import write_whole
from refconv.models.weight_files import read_checkpoint_file
from refconv.recipe.recipe import Recipe
from refconv.surgery import load_refocused_state_dict, refocused_state_dict

FORMAT = 1
"""Version of the file's layout."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The resumable state of a run."""

    step: int
    recipe: dict[str, Any]
    info: dict[str, Any]
    model: dict[str, Tensor]
    model_ema: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    seconds: float
    metrics_length: int
    train_loss: float | None = None
    losses: list[float] = dataclasses.field(default_factory=list)
    validation: list[dict[str, Any]]
    preprocessing: dict[str, Any] | None = None
    course: dict[str, Any] | None = None

    def save(self, path: Path) -> None:
        """Write the checkpoint; an earlier one stays whole until this one is."""
        # To memory first: torch hides a full disk behind an internal error of its archive writer.
        buffer = io.BytesIO()
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        torch.save({"format": FORMAT, **values}, buffer)
        write_whole(path, buffer.getbuffer())

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint, all tensors on the CPU."""
        if not path.is_file():
            raise CheckpointError("no such file", where=str(path))
        content = read_checkpoint_file(path)
        fields = [field.name for field in dataclasses.fields(cls) if field.name in content]
        missing = [
            field.name
            for field in dataclasses.fields(cls)
            if field.name not in content and field.default is dataclasses.MISSING
        ]
        if content.get("format") != FORMAT or missing:
            raise CheckpointError(
                "not a checkpoint of a run",
                where=str(path),
                expected=f"format {FORMAT}",
                found=f"format {content['format']}" if "format" in content else "no format",
                remedy="only what a run of this version wrote can be resumed",
            )
        return cls(**{name: content[name] for name in fields})

    def check_recipe(self, recipe: Recipe, *, where: str) -> None:
        """Check that a recipe goes on with this run."""
        before = self.trained_by()
        names = [
            name for name in before.differences(recipe) if not (name == "data" and _may_have_moved(before, recipe))
        ]
        if names:
            was = ", ".join(f"{name}={getattr(before, name)!r}" for name in names)
            now = ", ".join(f"{name}={getattr(recipe, name)!r}" for name in names)
            raise RunError(
                "the run was started with other settings",
                where=where,
                expected=was,
                found=now,
                remedy="resume with the run's own recipe.toml, or start another run",
            )

    def trained_by(self) -> Recipe:
        """Return the recipe of the run."""
        try:
            return Recipe.from_mapping(self.recipe)
        except RecipeError as error:
            raise CheckpointError("holds a recipe of another version", found=str(error)) from error

    def data_info(self) -> DataInfo:
        """Return the facts about the data that the run was trained on."""
        return DataInfo.from_dict(self.info)


def _may_have_moved(before: Recipe, now: Recipe) -> bool:
    """Say whether two recipes name files of one kind, such as ``folder:``, at two places; the data is compared then."""
    kinds = [recipe.data.partition(":")[:2] for recipe in (before, now)]
    return kinds[0] == kinds[1] and kinds[0][1] == ":"


def model_state(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state under the names of files; the tensors are the model's own."""
    return refocused_state_dict(model)


def load_model_state(model: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Load what :func:`model_state` returned."""
    try:
        load_refocused_state_dict(model, state)
    except CheckpointError as error:
        raise CheckpointError(
            "does not fit the model of its recipe",
            where=where,
            found=str(error),
            remedy="check whether the model's code has changed",
        ) from error
