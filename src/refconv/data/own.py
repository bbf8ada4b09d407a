"""The user's own data: map-style datasets of (sample, target), by ``module:function`` or handed over in Python.

Each sample is drawn with the generators of Python, NumPy and torch seeded by its own coordinates, so that a dataset
that augments in ``__getitem__`` gives the same samples in a resumed run.
"""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, default_collate

from refconv.data.dataset import Batch, Data, DataInfo, Drawn, Split
from refconv.data.loading import load_batches
from refconv.data.preprocessing import Preprocessing
from refconv.data.splits import index_of
from refconv.data.targets import CLASSES, Named, Wanted
from refconv.errors import DataError, SettingError, did_you_mean
from refconv.process.randomness import derive_seed, seeded

_SPLITS: tuple[Split, ...] = ("train", "val", "test")
HANDED_OVER: dict[str, Mapping[str, Any]] = {}
"""Datasets that were handed over in Python, by the name that recipes give."""

OF_OTHER_TASKS = {"scenes", "coco", "voc", "masks", "cityscapes", "images", "photographs"}
"""Words before a colon that name formats of data for detection, segmentation and restoration."""

_FORMATS = ("folder", "table", "arrays", "hf", "wds", *sorted(OF_OTHER_TASKS))


def is_own(name: str) -> bool:
    """Say whether a name of data is ``module:function`` or that of datasets that were handed over.

    Example:
        >>> is_own("mypackage.data:signals"), is_own("folder:images"), is_own("digits")
        (True, False, False)
    """
    module, _, function = name.partition(":")
    named = all(part.isidentifier() for part in (*module.split("."), function))
    return name in HANDED_OVER or (named and module not in _FORMATS)


def format_meant(name: str) -> str | None:
    """Return the remedy for data with a mistyped word before the colon.

    Example:
        >>> format_meant("fodler:images"), format_meant("mypackage.data:signals")
        ('did you mean folder:images?', None)
    """
    word, colon, rest = name.partition(":")
    meant = did_you_mean(word + colon, [f"{known}:" for known in _FORMATS]) if colon else None
    return meant and meant.replace(":", f":{rest}")


class OwnData(Data):
    """Datasets of the user's: ``train``, ``val`` and ``test``, of which the last two may be missing.

    Each has a length and gives pairs of a sample, a tensor [C, ...], and the number of its class or, as ``wanted``, its
    labels or values, a number or several. ``workers`` processes read samples, and ``collate``, torch's by default,
    makes a batch of a list of pairs.

    Raises:
        DataError: if a dataset is missing, empty, or gives something else.
    """

    def __init__(
        self,
        name: str,
        datasets: Mapping[str, Any],
        *,
        workers: int = 0,
        collate: Callable[[list[Any]], Any] | None = None,
        wanted: Wanted = CLASSES,
    ) -> None:
        self._datasets, self._wanted = _checked(name, datasets), wanted
        self._workers, self._collate = workers, collate or default_collate
        self._train_targets: Tensor | None = None
        if wanted.kind == "classes":
            shape, names = _shape_and_classes(name, self._datasets["train"])
        else:
            shape, targets, given = _shape_and_targets(name, self._datasets["train"])
            self._made = partial(_made, wanted, given, name)
            self._train_targets, names = self._made(targets)
        preprocessing = Preprocessing(
            input_size=shape, mean=(0.0,) * shape[0], std=(1.0,) * shape[0], interpolation="bilinear", crop_pct=1.0,
            crop_mode="center", color_mode="", sources={"input_size": "the dataset"},
        )  # fmt: skip
        indices = {split: torch.arange(len(self._datasets.get(split, ()))) for split in _SPLITS}
        super().__init__(DataInfo.of(name, names, preprocessing, indices), indices, preprocessing)

    def _load(self, split: Split, batches: list[Tensor], drawn: Drawn) -> Iterator[Batch]:
        samples = _Seeded(self._datasets[split], ("train", *drawn) if drawn else ("eval", split))
        for inputs, labels in load_batches(samples, batches, workers=self._workers, collate=self._collate):
            yield inputs, labels.long() if self._wanted.kind == "classes" else self._made(labels)[0]

    def train_targets(self) -> Tensor:
        """Return the targets of all training samples; classes that the dataset does not list are read for it."""
        if self._train_targets is None:
            self._train_targets = torch.tensor(_listed_classes(self._datasets["train"]))
        return self._train_targets[self._indices["train"]]


@dataclasses.dataclass(frozen=True)
class _Seeded:
    """A dataset whose samples are functions of their coordinates."""

    dataset: Any
    coordinates: tuple[Any, ...]

    def __getitem__(self, number: int) -> Any:
        with seeded(derive_seed("own", *self.coordinates, number)):
            return self.dataset[index_of(number)]


def open_own(
    name: str, *, asked: Mapping[str, Any], in_chans: int | None = None, workers: int = 0, wanted: Wanted = CLASSES
) -> OwnData:
    """Open data by ``module:function``, or that was handed over.

    The function takes no arguments and returns a mapping of datasets; see :class:`OwnData`. ``asked`` are settings of
    data that these datasets decide themselves, by name; none of them may have a value.

    Raises:
        DataError: if the module or function is not there or fails, or what it returns is no such mapping.
        SettingError: if something was asked for that the datasets do themselves.
    """
    for setting, value in asked.items():
        if value:
            what, remedy = (
                "own datasets decide this themselves",
                f"leave it out (0 for val_split), and change the datasets of {name}",
            )
            raise SettingError(what, where=setting, found=f"{value}", remedy=remedy)
    datasets = dict(HANDED_OVER[name] if name in HANDED_OVER else _returned(name))
    data = OwnData(name, datasets, workers=workers, collate=datasets.pop("collate", None), wanted=wanted)
    if in_chans not in {None, data.info.in_chans}:
        expected, found = str(data.info.in_chans), str(in_chans)
        raise DataError("cannot provide this number of channels", where=name, expected=expected, found=found)
    return data


def imported(name: str) -> Any:
    """Return what ``module:function`` names, of the current folder too; whatever importing raises passes through."""
    module, _, function = name.partition(":")
    if not {"", str(Path.cwd())} & {*sys.path}:
        sys.path.append(str(Path.cwd()))  # it stays, because workers import the module as well
    return getattr(importlib.import_module(module), function)


def _returned(name: str) -> Mapping[str, Any]:
    """Return what the function of ``module:function`` returns."""
    try:
        found = imported(name)()
    except Exception as error:  # foreign code may raise anything
        away = isinstance(error, ModuleNotFoundError) and error.name == name.partition(":")[0]
        if away and (remedy := format_meant(name)):
            raise DataError("unknown data", where=name, found=str(error), remedy=remedy) from error
        expected, found = "a function that returns a mapping of train, val and test", f"{type(error).__name__}: {error}"
        raise DataError("cannot open the data", where=name, expected=expected, found=found) from error
    if not isinstance(found, Mapping):
        expected = "train, and val and test where there are any"
        raise DataError("not a mapping of datasets", where=name, expected=expected, found=type(found).__name__)
    return found


def _checked(name: str, datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the datasets by split.

    Raises:
        DataError: if one is missing, empty, of an unknown split, or has no length or no items.
    """
    kept = {split: dataset for split, dataset in datasets.items() if dataset is not None}
    if not {"train"} <= {*kept} <= {*_SPLITS}:
        raise DataError("no such splits", where=name, expected="train, val and test", found=", ".join(kept) or "none")
    for split, dataset in kept.items():
        items = hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset)
        if not (isinstance(dataset, Sized) and items):
            what = "a dataset without a length or items cannot be read in an order that can be resumed"
            expected, found = "a map-style dataset, with __len__ and __getitem__", type(dataset).__name__
            raise DataError(what, where=f"{name}, {split}", expected=expected, found=found)
        if not len(dataset):
            raise DataError("no samples", where=f"{name}, {split}", expected="at least one")
    return kept


def _shape_and_classes(name: str, dataset: Any) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Return the shape of the first sample, and the names of the classes.

    The names are those that the dataset has as ``classes``, else numbers up to the largest of its labels: its
    ``targets``, its last one of ``tensors``, else those of all samples, which are read for it.

    Raises:
        DataError: if the first sample is no pair of a tensor and the number of one of these classes.
    """
    looked = _Seeded(dataset, ("look",))
    pair = looked[0]
    parts: Sequence[Any] = pair if isinstance(pair, (tuple, list)) else (pair,)
    two: Any = parts if len(parts) == 2 else (None, None)
    sample, label = two
    if isinstance(label, Tensor) and label.ndim == 0 and not label.is_floating_point():
        label = int(label)
    numbered = isinstance(label, (int, np.integer)) and not isinstance(label, bool)
    if not numbered or not isinstance(sample, Tensor) or sample.ndim < 2:
        found = ", ".join(type(part).__name__ for part in parts) or "nothing"
        what, expected = "not a sample of a classifier", "a pair of a tensor [C, ...] and the number of its class"
        raise DataError(what, where=f"{name}, train[0]", expected=expected, found=found)
    names = getattr(dataset, "classes", None)
    if names is None:
        names = range(max(_listed_classes(dataset)) + 1)
    if not 0 <= label < len(names):
        expected, where = f"a number from 0 to {len(names) - 1}", f"{name}, train[0]"
        raise DataError("no such class", where=where, expected=expected, found=str(label))
    return tuple(sample.shape), tuple(map(str, names))


def _listed_classes(dataset: Any) -> list[int]:
    """Return the class of each sample: its ``targets``, its last one of ``tensors``, else what all samples say."""
    listed = getattr(dataset, "targets", getattr(dataset, "tensors", (None,))[-1])
    looked = _Seeded(dataset, ("look",))
    return [int(one) for one in ((looked[i][1] for i in range(len(dataset))) if listed is None else listed)]


def _shape_and_targets(name: str, dataset: Any) -> tuple[tuple[int, ...], Tensor, tuple[str, ...] | None]:
    """Return the shape of the first sample, all targets, and the names that the dataset has as ``classes``.

    The targets are its ``targets``, its last one of ``tensors``, else those of all samples, which are read for it.

    Raises:
        DataError: if the first sample is no pair of a tensor and numbers, or targets differ in number.
    """
    looked = _Seeded(dataset, ("look",))
    pair = looked[0]
    two = isinstance(pair, (tuple, list)) and len(pair) == 2
    if not two or not isinstance(pair[0], Tensor) or pair[0].ndim < 2:
        parts = pair if isinstance(pair, (tuple, list)) else (pair,)
        expected, found = (
            "a pair of a tensor [C, ...] and its targets",
            ", ".join(type(part).__name__ for part in parts),
        )
        raise DataError("not a sample with targets", where=f"{name}, train[0]", expected=expected, found=found)
    targets = getattr(dataset, "targets", getattr(dataset, "tensors", (None,))[-1])
    targets = [looked[index][1] for index in range(len(dataset))] if targets is None else targets
    try:
        rows = torch.stack([torch.as_tensor(one) for one in targets])
    except (TypeError, ValueError, RuntimeError) as error:
        expected = "as many numbers for each sample"
        raise DataError(
            "targets are no numbers", where=f"{name}, train", expected=expected, found=str(error)
        ) from error
    names = getattr(dataset, "classes", None)
    return tuple(pair[0].shape), rows, None if names is None else tuple(map(str, names))


def _made(wanted: Wanted, names: tuple[str, ...] | None, where: str, targets: Tensor) -> Named:
    """Return targets as they are wanted: of whole numbers [n] those of classes, else columns [n, columns]."""
    classes = targets.ndim == 1 and not targets.is_floating_point() and wanted.kind == "labels"
    if classes and names is not None:
        return wanted.of_classes(targets.long(), names, where=where)
    columns = targets.reshape(len(targets), -1).float()
    usual = ("value",) if columns.shape[1] == 1 else tuple(map(str, range(columns.shape[1])))
    return wanted.of_columns(columns, usual if names is None or len(names) != columns.shape[1] else names, where=where)
