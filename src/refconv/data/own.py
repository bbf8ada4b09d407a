"""The user's own data: map-style datasets of (sample, class), by ``module:function`` or handed over in Python.

Each sample is drawn with the generators of Python, NumPy and torch seeded by its own coordinates, so that a dataset
that augments in ``__getitem__`` gives the same samples in a resumed run.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable, Iterator, Mapping, Sized
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from refconv.data.dataset import Batch, Data, DataInfo, Drawn, Split
from refconv.data.loading import load_batches
from refconv.data.preprocessing import Preprocessing
from refconv.errors import DataError, SettingError
from refconv.process.randomness import derive_seed, seeded

_SPLITS: tuple[Split, ...] = ("train", "val", "test")

HANDED_OVER: dict[str, Mapping[str, Any]] = {}
"""Datasets that were handed over in Python, by the name that recipes give."""


def is_own(name: str) -> bool:
    """Say whether a name of data is ``module:function`` or that of datasets that were handed over.

    Example:
        >>> is_own("mypackage.data:signals"), is_own("folder:images"), is_own("digits")
        (True, False, False)
    """
    module, colon, function = name.partition(":")
    parts = module.split(".")
    return name in HANDED_OVER or bool(
        colon
        and function.isidentifier()
        and len(parts) > 0
        and all(part.isidentifier() for part in parts)
        and module not in _TAKEN
    )


_TAKEN = {"folder", "scenes", "coco", "voc", "masks", "cityscapes", "images", "photographs"}
"""Words before a colon that name formats of data."""


class OwnData(Data):
    """Datasets of the user's.

    Args:
        name: the name they were opened by.
        datasets: ``train``, ``val`` and ``test``, of which the last two may be missing; each has a length and gives
            pairs of a sample, a tensor [C, ...], and the number of its class.
        workers: processes that read samples.
        collate: makes a batch of a list of pairs; torch's by default.

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
    ) -> None:
        self._datasets = _checked(name, datasets)
        self._workers, self._collate = workers, collate or default_collate
        sample, _ = _first(name, self._datasets["train"])
        shape = tuple(sample.shape)
        names = _class_names(name, self._datasets["train"])
        info = DataInfo(
            name=name,
            num_classes=len(names),
            in_chans=shape[0],
            input_size=shape,
            mean=(0.0,) * shape[0],
            std=(1.0,) * shape[0],
            class_names=names,
            **{f"{split}_size": len(self._datasets.get(split, ())) for split in _SPLITS},
        )
        preprocessing = Preprocessing(
            input_size=shape, mean=info.mean, std=info.std, interpolation="bilinear", crop_pct=1.0, crop_mode="center",
            color_mode="", sources={"input_size": "the dataset"},
        )  # fmt: skip
        indices = {split: torch.arange(len(self._datasets.get(split, ()))) for split in _SPLITS}
        super().__init__(info, indices, preprocessing)

    def _load(self, split: Split, batches: list[Tensor], drawn: Drawn) -> Iterator[Batch]:
        samples = _Seeded(self._datasets[split], ("train", *drawn) if drawn else ("eval", split))
        for inputs, labels in load_batches(samples, batches, workers=self._workers, collate=self._collate):
            yield inputs, labels.long()


@dataclasses.dataclass(frozen=True)
class _Seeded:
    """A dataset whose samples are functions of their coordinates."""

    dataset: Any
    coordinates: tuple[Any, ...]

    def __getitem__(self, index: int) -> Any:
        with seeded(derive_seed("own", *self.coordinates, index)):
            return self.dataset[index]


def open_own(name: str, *, val_split: float = 0.0, augmented: bool = False, workers: int = 0) -> OwnData:
    """Open data by ``module:function``, or that was handed over.

    Args:
        name: the function takes no arguments and returns a mapping of datasets; see :class:`OwnData`.
        val_split: must be 0: the datasets bring their validation split.
        augmented: whether augmentation was asked for, which these datasets do themselves.
        workers: processes that read samples.

    Raises:
        DataError: if the module or function is not there or fails, or what it returns is no such mapping.
        SettingError: if something was asked for that the datasets do themselves.
    """
    if val_split:
        raise SettingError(
            "own datasets bring their validation split", where="val_split", expected="0", found=f"{val_split:g}",
            remedy=f"return a dataset val from {name}",
        )  # fmt: skip
    if augmented:
        raise SettingError("own datasets augment their samples themselves", where="augmentation", found=name)
    if name in HANDED_OVER:
        own = dict(HANDED_OVER[name])
        return OwnData(name, own, workers=workers, collate=own.pop("collate", None))
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function)()
    except Exception as error:  # foreign code may raise anything
        raise DataError(
            "cannot open the data", where=name, expected="a function that returns a mapping of train, val and test",
            found=f"{type(error).__name__}: {error}",
        ) from error  # fmt: skip
    if not isinstance(found, Mapping):
        raise DataError(
            "not a mapping of datasets", where=name, expected="train, and val and test where there are any",
            found=type(found).__name__,
        )  # fmt: skip
    return OwnData(name, found, workers=workers)


def _checked(name: str, datasets: Mapping[str, Any]) -> dict[str, Any]:
    """Return the datasets by split.

    Raises:
        DataError: if one is missing, empty, of an unknown split, or has no length or no items.
    """
    kept = {split: dataset for split, dataset in datasets.items() if dataset is not None}
    unknown = sorted(set(kept) - set(_SPLITS))
    if unknown or "train" not in kept:
        raise DataError("no such splits", where=name, expected="train, val and test", found=", ".join(kept) or "none")
    for split, dataset in kept.items():
        if not (isinstance(dataset, Sized) and hasattr(dataset, "__getitem__")):
            raise DataError(
                "a dataset without a length or items cannot be read in an order that can be resumed",
                where=f"{name}, {split}",
                expected="a map-style dataset, with __len__ and __getitem__",
                found=type(dataset).__name__,
            )
        if not len(dataset):
            raise DataError("no samples", where=f"{name}, {split}", expected="at least one")
    return kept


def _first(name: str, dataset: Any) -> tuple[Tensor, int]:
    """Return the first sample and its class.

    Raises:
        DataError: if it is no pair of a tensor and a whole number.
    """
    pair = _Seeded(dataset, ("look",))[0]
    fits = isinstance(pair, (tuple, list)) and len(pair) == 2 and isinstance(pair[0], Tensor) and pair[0].ndim >= 2
    label = pair[1] if fits else None
    if isinstance(label, Tensor) and label.ndim == 0 and not label.is_floating_point():
        label = int(label)
    if not fits or isinstance(label, bool) or not isinstance(label, (int, np.integer)):
        raise DataError(
            "not a sample of a classifier",
            where=f"{name}, train[0]",
            expected="a pair of a tensor [C, ...] and the number of its class",
            found=", ".join(type(part).__name__ for part in pair) if isinstance(pair, (tuple, list)) else
            type(pair).__name__,
        )  # fmt: skip
    return cast(Tensor, pair[0]), int(label)


def _class_names(name: str, dataset: Any) -> tuple[str, ...]:
    """Return the names of the classes: those that the dataset has as ``classes``, else numbers up to the largest label.

    Raises:
        DataError: if neither names nor labels (``targets``) are to be had without reading every sample.
    """
    named = getattr(dataset, "classes", None)
    if named is not None:
        return tuple(map(str, named))
    labels = getattr(dataset, "targets", None)
    if labels is None:
        labels = getattr(dataset, "tensors", (None, None))[-1]
    if labels is None:
        labels = [int(_Seeded(dataset, ("look",))[index][1]) for index in range(len(dataset))]
    return tuple(str(number) for number in range(int(max(int(label) for label in labels)) + 1))
