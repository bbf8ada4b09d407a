"""Improving a module on the user's own loaders."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence, Sized
from itertools import combinations
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, Subset

from refconv.data.own import HANDED_OVER
from refconv.errors import ModelError, RunError, SettingError
from refconv.improvement.config import Budget, ImproveConfig
from refconv.improvement.handed_over import MODELS, address
from refconv.improvement.improving import PLAN_FILE, improve_recipe
from refconv.improvement.looking import check_place
from refconv.improvement.record import ImproveRecord
from refconv.models.builders import LET_IT
from refconv.models.model_folder import has_weights
from refconv.models.run_folder import write_whole, writing
from refconv.models.weight_files import read_weights
from refconv.paths import path_of
from refconv.recipe.recipe import Recipe
from refconv.surgery.refocusing import MERGE_FIRST, check_plain, transformed

_BASE = "base.pth"  # the weights that an improvement began with
_ORDERS = (RandomSampler, SequentialSampler)


def _is_of(folder: Path, state: Mapping[str, Tensor]) -> bool:
    """Say whether weights are those that the improvement in a folder began with, or its result: the call again."""
    begun, result = folder / _BASE, folder / "model"
    return _same(read_weights(begun), state) or (has_weights(result) and _same(read_weights(result), state))


def _same(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name].cpu()) for name in first)


def _remedy(error: ModelError) -> str | None:
    """Return what a program can do about an error; of its network there is no builder that could take an argument."""
    remedy = error.remedy or ""
    if remedy.startswith(f"{LET_IT} in_chans"):
        wanted = (error.expected or "").partition(",")[0]
        return f"give loaders of samples of {error.found} channels, or a network for {wanted}"
    return "give a model for the data's classes" if remedy.startswith(LET_IT) else error.remedy


def _origin(dataset: Any) -> tuple[Any, set[int] | None]:
    """Return what a dataset is a subset of, and its indices there; None for all of them."""
    indices: Sequence[Any] | None = None
    while isinstance(dataset, Subset):
        chosen = dataset.indices
        indices = chosen if indices is None else [chosen[index] for index in indices]
        dataset = dataset.dataset
    if indices is None:
        return dataset, None
    count = len(dataset) if isinstance(dataset, Sized) else 0
    return dataset, {int(index) + count * (int(index) < 0) for index in indices}


def _check_apart(datasets: Mapping[str, Any]) -> None:
    """Refuse samples that are in two roles, as far as can be told: by one dataset object and indices into it."""
    origins = {name: _origin(dataset) for name, dataset in datasets.items()}
    for (one, (first, chosen)), (two, (second, others)) in combinations(origins.items(), 2):
        given = [indices for indices in (chosen, others) if indices is not None]
        both = set.intersection(*given) if given else None
        if first is second and both != set():
            found = f"{len(both):,} in both, the first: {min(both)}" if both else "the same dataset"
            remedy = "split the dataset, as by torch.utils.data.random_split" + ", or leave test out" * (two == "test")
            raise SettingError(
                "samples in two roles", where=f"{one} and {two}", expected="each in one", found=found, remedy=remedy
            )


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
    samples is decided here, so that an interrupted call goes on exactly. The call again after it has finished, with the
    module that has the result's weights by then, returns the same.

    Args:
        model: a trained classifier; its forward takes a batch and returns logits [batch, classes]. It gets the weights
            of the result, and stays as it was after a dry run.
        train: gives batches of samples [batch, C, ...] and classes [batch]; its dataset has a length and augments by
            itself. A loader with a sampler of its own is refused.
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
        ModelError: if the model is no module, or is wrapped or refocused.
        SettingError: if a setting is not possible, or a sample is in two of the loaders.
        DataError: if a dataset has no length or gives something else than samples and classes.
        RefconvError: as :func:`refconv.improvement.improving.improve_recipe`.
    """
    check_plain(model, "improve")
    if (refocused := next((name for name, _, _ in transformed(model)), None)) is not None:
        raise ModelError("the model is refocused", where=refocused, expected="a plain model", remedy=MERGE_FIRST)
    key, folder = type(model).__name__, path_of(out)
    loaders: dict[str, Any] = {"train": train, "val": val, "test": test}
    for name, loader in loaders.items():
        if loader is None and name != "test":
            raise SettingError("missing", where=name, expected="a torch.utils.data.DataLoader")
        if loader is not None and not isinstance(loader, DataLoader):
            found = type(loader).__name__
            raise SettingError("not a loader", where=name, expected="a torch.utils.data.DataLoader", found=found)
        if (
            loader is not None
            and not isinstance(loader.sampler, _ORDERS)
            and not isinstance(loader.dataset, IterableDataset)
        ):
            raise SettingError(
                "the loader has a sampler of its own, and the order of samples is decided here",
                where=name, found=type(loader.sampler).__name__, remedy="choose samples in the dataset, as by Subset",
            )  # fmt: skip
    datasets = {name: loader.dataset for name, loader in loaders.items() if loader is not None}
    _check_apart(datasets)
    data = type(train.dataset).__name__
    weights = folder / _BASE
    HANDED_OVER[data] = {**datasets, "collate": train.collate_fn}
    MODELS[key] = model
    try:
        if (folder / PLAN_FILE).is_file() and not weights.is_file():
            raise RunError("holds an improvement by the command", where=str(folder), remedy="give another folder")
        begun = weights.is_file() and (folder / PLAN_FILE).is_file()
        if begun and not _is_of(folder, model.state_dict()):
            remedy = "give another folder, or the weights that it was begun with"
            raise RunError("the folder holds an improvement of other weights", where=str(folder), remedy=remedy)
        if not begun:
            check_place(folder)
            content = io.BytesIO()
            torch.save(model.state_dict(), content)
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)
            write_whole(weights, content.getbuffer())
        recipe = Recipe.from_mapping(
            {
                "model": address(key),
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
    except ModelError as error:
        if error.where != address(key):
            raise
        raise ModelError(
            error.what, where=key, expected=error.expected, found=error.found, remedy=_remedy(error)
        ) from None
    finally:
        del MODELS[key], HANDED_OVER[data]
    if record is not None:
        model.load_state_dict(read_weights(folder / "model"), strict=True)
    return record
