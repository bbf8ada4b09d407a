"""Improving a module on the user's own loaders."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader

from refconv.data.own import HANDED_OVER
from refconv.errors import SettingError
from refconv.improvement.config import Budget, ImproveConfig
from refconv.improvement.improving import improve_recipe
from refconv.improvement.record import ImproveRecord
from refconv.models.run_folder import write_whole, writing
from refconv.models.weight_files import read_weights
from refconv.recipe.recipe import Recipe

_MODELS: dict[str, nn.Module] = {}


def handed_over(key: str | None = None, **_: Any) -> nn.Module:
    """Return a copy of a model that was handed over in this process, by default the last; recipes' builder of it."""
    return copy.deepcopy(_MODELS[key or next(reversed(_MODELS))])


def improve(
    model: nn.Module,
    train: DataLoader[Any],
    val: DataLoader[Any],
    test: DataLoader[Any] | None = None,
    *,
    out: Path | str,
    budget: str,
    contenders: tuple[str, ...] = (),
    teacher: str | None = None,
    dry_run: bool = False,
    check: bool = True,
    show: bool = True,
    **settings: Any,
) -> ImproveRecord | None:
    """Improve a trained classifier on the user's own loaders; see :func:`refconv.improvement.improving.improve_recipe`.

    The loaders are taken apart: their datasets, batch size, collate function and workers are used, and the order of the
    samples is decided here, so that an interrupted call goes on exactly.

    Args:
        model: a trained classifier; its forward takes a batch and returns logits [batch, classes]. It gets the weights
            of the result, and stays as it was after a dry run.
        train: gives batches of samples [batch, C, ...] and classes [batch]; its dataset has a length and augments by
            itself.
        val: the same of validation samples, by which everything is chosen.
        test: the same of test samples, which are read once; without them the result is told on validation samples.
        out: the folder of the result and of all runs.
        budget: of all training together, such as ``40ep``, ``2h`` or ``400k samples``.
        contenders: glob patterns of the ways to train that take part; all by default.
        teacher: ``base`` to distil from the model as it was.
        dry_run: measure the model and show the plan, then stop.
        check: refuse a model that does no better than guessing.
        show: show progress on standard output.
        **settings: settings of a recipe, such as ``lr``, ``weight_decay`` or ``device``.

    Returns:
        What was found; None after a dry run.

    Raises:
        SettingError: if a setting is not possible.
        DataError: if a dataset has no length or gives something else than samples and classes.
        RefconvError: as :func:`refconv.improvement.improving.improve_recipe`.
    """
    key, folder = type(model).__name__, Path(out)
    loaders = {"train": train, "val": val, "test": test}
    for name, loader in loaders.items():
        if loader is not None and not isinstance(loader, DataLoader):
            raise SettingError(
                "not a loader", where=name, expected="a torch.utils.data.DataLoader", found=type(loader).__name__
            )
    datasets = {name: loader.dataset for name, loader in loaders.items() if loader is not None}
    data = type(train.dataset).__name__
    weights = folder / "base.pth"
    HANDED_OVER[data] = {**datasets, "collate": train.collate_fn}
    _MODELS[key] = model
    try:
        if not weights.is_file():
            content = io.BytesIO()
            torch.save(model.state_dict(), content)
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            write_whole(weights, content.getbuffer())
        recipe = Recipe.from_mapping(
            {
                "model": f"{__name__}:handed_over",
                "model_kwargs": {"key": key},
                "checkpoint": str(weights),
                "data": data,
                "batch_size": train.batch_size or 128,
                "workers": train.num_workers,
                **settings,
            }
        )
        config = ImproveConfig(
            budget=Budget.parse(budget), contenders=contenders, teacher=teacher, jobs=1, dry_run=dry_run, check=check,
            show=show,
        )  # fmt: skip
        record = improve_recipe(recipe, folder, config, given=("batch_size", *settings))
    finally:
        del _MODELS[key], HANDED_OVER[data]
    if record is not None:
        model.load_state_dict(read_weights(folder / "model"), strict=True)
    return record
