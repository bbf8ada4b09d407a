"""The contract between data and the training loop."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from refconv.data.class_names import Classes, Matching
from refconv.data.preprocessing import Preprocessing, Statement, resolve
from refconv.data.splits import batch_count, eval_index_batches, train_index_batches
from refconv.errors import DataError
from refconv.records import Record

_DRAWN = 0
"""Seed of the order in which a few samples of a split are drawn."""

Split = Literal["train", "val", "test"]
Samples = Any
"""What a model takes: a tensor [batch, *input_size], or a list of images [C, H, W] of different sizes."""
Targets = Any
"""What the loss and the evaluation compare with: labels, class maps, boxes, clean images."""
Batch = tuple[Samples, Targets]


@dataclasses.dataclass(frozen=True)
class DataInfo(Record):
    """The facts that models, recipes and reports need about a data set.

    Attributes:
        name: the name it was opened by.
        num_classes: number of classes.
        in_chans: channels of the tensors that come out.
        input_size: the shape of one sample, [C, H, W] or [C, L].
        mean: per channel, subtracted from values in [0, 1].
        std: per channel, by which they are then divided.
        class_names: one name per class, in the order of the labels.
        train_size: samples trained on, without those of the validation split.
        val_size: samples of the validation split.
        test_size: samples of the test split.
    """

    name: str
    num_classes: int
    in_chans: int
    input_size: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...]
    train_size: int
    val_size: int
    test_size: int

    @classmethod
    def of(
        cls, name: str, class_names: Sequence[str], preprocessing: Preprocessing, indices: Mapping[Split, Tensor]
    ) -> DataInfo:
        """Return the facts about labelled samples, given the indices of each split."""
        return cls(
            name=name,
            num_classes=len(class_names),
            in_chans=preprocessing.in_chans,
            input_size=preprocessing.input_size,
            mean=preprocessing.mean,
            std=preprocessing.std,
            class_names=tuple(class_names),
            train_size=len(indices["train"]),
            val_size=len(indices["val"]),
            test_size=len(indices["test"]),
        )


def as_they_are(info: DataInfo, task: str) -> Preprocessing:
    """Return the preprocessing of a task that takes whole images, only scaled to [0, 1] or as the facts say."""
    values = {name: getattr(info, name) for name in ("input_size", "mean", "std")}
    values |= {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "border"}
    return resolve([Statement(task, values)], in_chans=info.in_chans, where=info.name)


class Data(ABC):
    """Batches of a data set as exact functions of seed, epoch and position.

    A subclass says how the samples of given indices become batches; the order is decided here.

    Attributes:
        info: the facts about the data.
        preprocessing: how samples become tensors.
        matching: how the classes were matched with a model's, where they differ; see :meth:`with_classes`.
        remark: what else is to be said of the classes.
        counted: called with the number of samples of each batch that evaluation is given.
    """

    def __init__(self, info: DataInfo, indices: Mapping[Split, Tensor], preprocessing: Preprocessing) -> None:
        self.info, self.preprocessing = info, preprocessing
        self.matching: Matching | None = None
        self.remark = ""
        self._indices = dict(indices)
        self.counted: Callable[[int], None] | None = None

    def size_of(self, split: Split) -> int:
        """Return the number of samples of a split."""
        return len(self._indices[split])

    @property
    def said(self) -> tuple[str, ...]:
        """What is printed before data are used: how samples become tensors, and how classes were matched."""
        classes = self.remark if self.matching is None else str(self.matching)
        return (f"images: {self.preprocessing}", *([f"classes: {classes}"] if classes else []))

    def with_classes(self, classes: Classes) -> Data:
        """Return the data with the labels of a model's classes; it stays as it is.

        Raises:
            DataError: if a class of the data is not among them.
        """
        matching = classes.match(self.info.class_names, where=self.info.name)
        if matching.changes_nothing:
            return self
        changed = copy.copy(self)
        changed.matching = matching
        changed.info = dataclasses.replace(self.info, num_classes=len(matching.names), class_names=matching.names)
        return changed

    def batches_per_epoch(self, *, batch_size: int, world_size: int = 1) -> int:
        """Return how many batches of ``batch_size`` samples each process sees in an epoch.

        Raises:
            DataError: if there are fewer samples than processes.
        """
        return batch_count(len(self._present("train")), batch_size=batch_size, world_size=world_size)

    def train_batches(
        self, *, seed: int, epoch: int, batch_size: int, first_batch: int = 0, rank: int = 0, world_size: int = 1
    ) -> Iterator[Batch]:
        """Yield one process's augmented batches of one epoch, counted from 0.

        The batches are an exact function of the arguments: starting at ``first_batch`` gives the tail of the
        whole sequence bit for bit. An incomplete last batch is dropped, unless it is the only one.

        Args:
            seed: the run's seed.
            epoch: the epoch, counted from 0.
            batch_size: samples per batch and process.
            first_batch: how many batches to leave out at the start.
            rank: this process.
            world_size: number of processes.

        Returns:
            Pairs of samples and targets on the CPU: for classification samples [batch, *input_size] in float32 and
            labels [batch] in int64.

        Raises:
            DataError: if there are no or too few samples; while iterating, if a sample cannot be read.
        """
        order = {"seed": seed, "epoch": epoch}
        share = {"batch_size": batch_size, "first_batch": first_batch, "rank": rank, "world_size": world_size}
        batches = train_index_batches(self._present("train"), **order, **share)
        return self._matched(self._load_train(batches, **order))

    def eval_batches(self, split: Split, *, batch_size: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield one process's share of a split, in order, not augmented, every sample exactly once.

        Arguments and batches are those of :meth:`train_batches`, but the last batch may be smaller, and a process may
        get none.

        Raises:
            DataError: if the split has no samples; while iterating, if a sample cannot be read.
        """
        indices = self._present(split)
        positions = eval_index_batches(len(indices), batch_size=batch_size, rank=rank, world_size=world_size)
        loaded = self._matched(self._load_eval(split, [indices[batch] for batch in positions]))
        return loaded if self.counted is None else _counted(loaded, self.counted)

    def _matched(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        if self.matching is None:
            return batches
        outputs = torch.tensor(self.matching.outputs)
        return ((samples, self._relabelled(targets, outputs)) for samples, targets in batches)

    def _relabelled(self, targets: Targets, outputs: Tensor) -> Targets:
        """Return a batch's targets with the model's class for each class of the data, int64 [classes]."""
        return outputs[targets]

    def _present(self, split: Split) -> Tensor:
        indices = self._indices[split]
        if not len(indices):
            raise DataError(
                f"no samples to {'train' if split == 'train' else 'evaluate'} on",
                where=f"split {split!r} of {self.info.name}",
                remedy="set val_split, such as val_split=0.1" if split == "val" else None,
            )
        return indices

    @abstractmethod
    def _load_train(self, batches: list[Tensor], *, seed: int, epoch: int) -> Iterator[Batch]:
        """Yield the batches of these indices, augmented as (seed, epoch, index) says."""

    @abstractmethod
    def _load_eval(self, split: Split, batches: list[Tensor]) -> Iterator[Batch]:
        """Yield the batches of these indices of a split as they are."""


def _counted(batches: Iterator[Batch], counted: Callable[[int], None]) -> Iterator[Batch]:
    for batch in batches:
        yield batch
        counted(len(batch[0]))


def in_drawn_order(data: Data, split: Split, most: int | None = None) -> tuple[Data, tuple[int, ...], bool]:
    """Return data whose split is drawn at random, at most ``most`` of it, their places in the split, and if it was cut.

    The data that are given stay as they are.
    """
    indices = data._indices[split]
    order = torch.randperm(len(indices), generator=torch.Generator().manual_seed(_DRAWN))[:most]
    drawn = copy.copy(data)
    drawn._indices = {**data._indices, split: indices[order]}
    return drawn, tuple(order.tolist()), len(order) < len(indices)
