"""Checkpoints: the resumable state of a run in one file, written whole or not at all, read without running code.

Nothing random is stored: order, augmentation and every step are seeded from the recipe's seed and ``step``.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refconv.data import DataInfo
from refconv.data.preprocessing import MOST_OUTPUTS, Preprocessing
from refconv.digests import COPY_AGAIN, with_digest
from refconv.errors import CheckpointError, RecipeError, RunError
from refconv.models.run_folder import RunFolder, write_whole
from refconv.models.weight_files import missing, read_checkpoint_file
from refconv.recipe.recipe import Recipe
from refconv.records import conformed, type_hints
from refconv.surgery import load_refocused_state_dict

FORMAT = 1  #: Version of the file's layout


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The resumable state of a run."""

    step: int  # steps taken
    recipe: dict[str, Any]
    info: dict[str, Any]  # the facts about the data
    model: dict[str, Tensor]  # in training; refocused kernels as ``X.base`` and ``X.refocus_weight``
    model_ema: dict[str, Tensor] | None
    optimizer: dict[str, Any]
    seconds: float  # spent training
    metrics_length: int  # bytes of metrics.jsonl written
    metrics_hash: str | None = None  # SHA-256 of them; not in files of before 0.2
    train_loss: float | None = None  # mean of the last log interval; None before its end
    losses: list[float] = dataclasses.field(default_factory=list)  # since then
    validation: list[dict[str, Any]]  # the evaluations on the validation split so far
    preprocessing: dict[str, Any] | None = None  # None in files of earlier versions
    loss: dict[str, Tensor] | None = None  # what the loss itself has learned
    course: dict[str, Any] | None = None  # the measured start; not in files of versions that did not measure it

    def save(self, path: Path) -> None:
        """Write the checkpoint; an earlier one stays whole until this one is."""
        # To memory first: torch hides a full disk behind an internal error of its archive writer.
        buffer = io.BytesIO()
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        torch.save(with_digest({"format": FORMAT, **values}), buffer)
        write_whole(path, buffer.getbuffer())

    @classmethod
    def load(cls, path: Path) -> Checkpoint:
        """Read a checkpoint, all tensors on the CPU."""
        if not path.is_file():
            run = RunFolder(path)
            raise run.without_checkpoint() if run.is_run else missing(path)
        content = read_checkpoint_file(path)
        fields = dataclasses.fields(cls)
        needed = {field.name for field in fields if field.default is dataclasses.MISSING}
        if content.get("format") != FORMAT or not needed <= content.keys():
            what, remedy = "not a checkpoint of a run", "only what a run of this version wrote can be resumed"
            found = f"format {content['format']}" if "format" in content else "no format"
            raise CheckpointError(what, where=str(path), expected=f"format {FORMAT}", found=found, remedy=remedy)
        hints = type_hints(cls)
        try:
            values = {
                field.name: conformed(hints[field.name], content[field.name])
                for field in fields
                if field.name in content
            }
            read = cls(**values)
            read._check()
        except ValueError as error:
            raise CheckpointError("damaged", where=str(path), found=str(error), remedy=COPY_AGAIN) from error
        return read

    def _check(self) -> None:
        """Check what holds of every run, whatever its recipe.

        Raises:
            ValueError: if a count is negative, a time no finite number, or facts about data or preprocessing are none.
        """
        info = DataInfo.from_dict(self.info)
        if self.preprocessing is not None:
            Preprocessing.from_dict(self.preprocessing).check(where="preprocessing")
        if not (0 <= info.num_classes <= MOST_OUTPUTS and 1 <= info.in_chans <= MOST_OUTPUTS and info.input_size):
            found = f"{info.num_classes} classes, {info.in_chans} channels, shape {list(info.input_size)}"
            raise ValueError(f"info: expected the shape of data, found {found}")
        counts = {"step": self.step, "metrics_length": self.metrics_length, "seconds": self.seconds}
        for name, value in counts.items():
            if not 0 <= value < math.inf:
                raise ValueError(f"{name}: expected a number from 0 on, found {value}")

    def check_recipe(self, recipe: Recipe, *, where: str) -> None:
        """Check that a recipe goes on with this run."""
        before = self.trained_by()
        kinds = [one.data.partition(":")[:2] for one in (before, recipe)]
        # Files of one kind, such as ``folder:``, may have moved; the data is compared then.
        moved = {"data"} if kinds[0] == kinds[1] and kinds[0][1] == ":" else set()
        names = [name for name in before.differences(recipe) if name not in moved]
        if names:
            was, now = (", ".join(f"{name}={getattr(of, name)!r}" for name in names) for of in (before, recipe))
            what = "the run was started with other settings"
            remedy = "resume with the run's own recipe.toml, or start another run"
            raise RunError(what, where=where, expected=was, found=now, remedy=remedy)

    def trained_by(self) -> Recipe:
        """Return the recipe of the run."""
        try:
            return Recipe.from_mapping(self.recipe)
        except RecipeError as error:
            remedy = "use the version of refconv that wrote it"
            raise CheckpointError("holds a recipe of another version", found=str(error), remedy=remedy) from error

    def data_info(self) -> DataInfo:
        """Return the facts about the data that the run was trained on."""
        return DataInfo.from_dict(self.info)


def load_model_state(model: nn.Module, state: Mapping[str, Tensor], *, where: str) -> None:
    """Load what :func:`refconv.surgery.refocused_state_dict` returned."""
    try:
        load_refocused_state_dict(model, state)
    except CheckpointError as error:
        what, remedy = "does not fit the model of its recipe", "check whether the model's code has changed"
        raise CheckpointError(what, where=where, found=str(error), remedy=remedy) from error
