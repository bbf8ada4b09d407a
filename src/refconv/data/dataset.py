"""The contract between data and the training loop."""

from __future__ import annotations

import copy
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from refconv.data.class_names import Classes, Matching
from refconv.data.preprocessing import Preprocessing, Statement, resolve
from refconv.data.splits import (
    balanced_batch_count,
    balanced_index_batches,
    batch_count,
    eval_index_batches,
    train_index_batches,
)
from refconv.data.targets import placed
from refconv.errors import DataError
from refconv.records import Record

_DRAWN = 0  #: Seed of the order in which a few samples of a split are drawn
Split = Literal["train", "val", "test"]
Samples = Any  #: What a model takes: a tensor [batch, *input_size], or a list of images [C, H, W] of different sizes
Targets = Any  #: What the loss and the evaluation compare with: labels, class maps, boxes, clean images
Batch = tuple[Samples, Targets]
Drawn = tuple[int, int] | None  #: Seed and epoch of what is drawn at random for each sample; None draws nothing


@dataclasses.dataclass(frozen=True)
class DataInfo(Record):
    """The facts that models, recipes and reports need about a data set."""

    name: str  # what it was opened by
    num_classes: int
    in_chans: int  # of the tensors that come out
    input_size: tuple[int, ...]  # the shape of one sample, [C, H, W] or [C, L]
    mean: tuple[float, ...]  # per channel, subtracted from values in [0, 1]
    std: tuple[float, ...]  # per channel, by which they are then divided
    class_names: tuple[str, ...]  # in the order of the labels
    train_size: int  # without the samples of the validation split
    val_size: int
    test_size: int
    target_mean: tuple[float, ...] = ()  # of regression, per output: subtracted from targets in training
    target_std: tuple[float, ...] = ()  # by which they are then divided

    @classmethod
    def of(
        cls, name: str, class_names: Sequence[str], preprocessing: Preprocessing, indices: Mapping[Split, Tensor]
    ) -> DataInfo:
        """Return the facts about labelled samples, given the indices of each split."""
        shape = preprocessing.in_chans, preprocessing.input_size, preprocessing.mean, preprocessing.std
        sizes = len(indices["train"]), len(indices["val"]), len(indices["test"])
        return cls(name, len(class_names), *shape, tuple(class_names), *sizes)


def as_they_are(
    task: str, input_size: tuple[int, ...], mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)
) -> Preprocessing:
    """Return the preprocessing of a task that takes whole images, by default only scaled to [0, 1]."""
    values: dict[str, Any] = {"input_size": input_size, "mean": tuple(mean), "std": tuple(std)}
    values |= {"interpolation": "bilinear", "crop_pct": 1.0, "crop_mode": "border"}
    return resolve([Statement(task, values)], in_chans=input_size[0])


class Data(ABC):
    """Batches of a data set as exact functions of seed, epoch and position; subclasses make those of given indices."""

    def __init__(self, info: DataInfo, indices: Mapping[Split, Tensor], preprocessing: Preprocessing) -> None:
        self.info, self.preprocessing = info, preprocessing
        self.matching: Matching | None = None  # the classes with a model's, where they differ; see with_classes
        self.remark = ""  # what else is to be said of the classes
        self.per_class: int | None = None  # training samples of each class in a batch, where that is wanted
        self.counted: Callable[[int], None] | None = None  # called with the size of each batch that evaluation gets
        self._indices = dict(indices)

    def size_of(self, split: Split) -> int:
        """Return the number of samples of a split."""
        return len(self._indices[split])

    @property
    def said(self) -> tuple[str, ...]:
        """What is printed before data are used: how samples become tensors, and how classes were matched."""
        classes = self.remark if self.matching is None else str(self.matching)
        lines = (f"images: {self.preprocessing}", self.preprocessing.warning, classes and f"classes: {classes}")
        return tuple(line for line in lines if line)

    def train_targets(self) -> Tensor:
        """Return the targets of all training samples; data without one target a sample, such as boxes, have none."""
        raise NotImplementedError

    def with_scale(self, mean: Sequence[float], std: Sequence[float], *, by: str) -> Data:
        """Return the data with numbers by which targets are scaled in training; it stays as it is."""
        scale: dict[str, Any] = {"target_mean": tuple(mean), "target_std": tuple(std)}
        changed = copy.copy(self)
        changed.info = dataclasses.replace(self.info, **scale)
        sources = {**self.preprocessing.sources, "target_mean": by}
        changed.preprocessing = dataclasses.replace(self.preprocessing, sources=sources, **scale)
        return changed

    def with_classes(self, classes: Classes) -> Data:
        """Return the data with the labels of a model's classes; it stays as it is."""
        matching = classes.match(self.info.class_names, where=self.info.name)
        if matching.changes_nothing:
            return self
        changed = copy.copy(self)
        changed.matching = matching
        changed.info = dataclasses.replace(self.info, num_classes=len(matching.names), class_names=matching.names)
        return changed

    def batches_per_epoch(self, *, batch_size: int) -> int:
        """Return how many batches of ``batch_size`` samples, of all processes together, there are in an epoch."""
        if self.per_class is not None:
            return balanced_batch_count(self.train_targets(), self.per_class, batch_size=batch_size)
        return batch_count(len(self._present("train")), batch_size=batch_size)

    def train_batches(
        self,
        *,
        seed: int,
        epoch: int,
        batch_size: int,
        first_batch: int = 0,
        rank: int = 0,
        world_size: int = 1,
        repeats: float = 0.0,
        pairs: bool = False,
    ) -> Iterator[Batch]:
        """Yield one process's share of the augmented batches of one epoch, counted from 0.

        They are pairs of samples and targets on the CPU: for classification samples [batch, *input_size] in float32
        and labels [batch] in int64. They are an exact function of the arguments: starting at ``first_batch`` gives the
        tail of the whole sequence bit for bit. ``batch_size`` is of all processes together; an incomplete last batch is
        dropped, unless it is the only one. With ``repeats`` an epoch has as many samples, each of them that often and
        augmented anew each time. With ``pairs`` a share has the partners of its samples, with which they are mixed; see
        :func:`refconv.data.splits.share_of`.

        Raises:
            DataError: if there are no or too few samples; while iterating, if a sample cannot be read.
        """
        share: dict[str, Any] = {"seed": seed, "epoch": epoch, "batch_size": batch_size, "first_batch": first_batch}
        share |= {"rank": rank, "world_size": world_size}
        indices = self._present("train")
        if self.per_class is None:
            batches = train_index_batches(indices, repeats=repeats, pairs=pairs, **share)
        else:
            batches = balanced_index_batches(indices, self.train_targets(), self.per_class, **share)
        return self._matched(self._load("train", batches, (seed, epoch)))

    def eval_batches(self, split: Split, *, batch_size: int, rank: int = 0, world_size: int = 1) -> Iterator[Batch]:
        """Yield one process's share of a split, in order, not augmented, every sample exactly once.

        Batches have the form of those of :meth:`train_batches`. They are of ``batch_size`` samples in each process, the
        last one perhaps of fewer, and a process may get none.

        Raises:
            DataError: if the split has no samples; while iterating, if a sample cannot be read.
        """
        indices = self._present(split)
        positions = eval_index_batches(len(indices), batch_size=batch_size, rank=rank, world_size=world_size)
        loaded = self._matched(self._load(split, [indices[batch] for batch in positions], None))
        return loaded if self.counted is None else _counted(loaded, self.counted)

    def _matched(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        if self.matching is None:
            return batches
        outputs = torch.tensor(self.matching.outputs)
        return ((samples, self._relabelled(targets, outputs)) for samples, targets in batches)

    def _relabelled(self, targets: Targets, outputs: Tensor) -> Targets:
        """Return a batch's targets with the model's class for each class of the data, int64 [classes]."""
        return placed(targets, outputs, self.info.num_classes)

    def _present(self, split: Split) -> Tensor:
        indices = self._indices[split]
        if not len(indices):
            what = f"no samples to {'train' if split == 'train' else 'evaluate'} on"
            remedy = "set val_split, such as val_split=0.1" if split == "val" else None
            raise DataError(what, where=f"split {split!r} of {self.info.name}", remedy=remedy)
        return indices

    @abstractmethod
    def _load(self, split: Split, batches: list[Tensor], drawn: Drawn) -> Iterator[Batch]:
        """Yield the batches of these indices of a split, augmented as (seed, epoch, index) says, or as they are.

        In training they are numbers of which :func:`refconv.data.splits.index_of` gives the index.
        """


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


def sampled(data: Data, splits: Sequence[Split]) -> bytes:
    """Return what tells data apart: the facts about them, and the values of a few samples of each split."""
    first = [bytes_of(next(data.eval_batches(split, batch_size=4))) for split in splits if data.size_of(split)]
    return b"".join([data.info.to_json().encode(), *first])


def bytes_of(content: object) -> bytes:
    """Return the values of all tensors in nested lists and tables as bytes, and everything else in words."""
    leaves = pytree.tree_leaves(content)
    return b"".join(
        one.detach().cpu().contiguous().view(-1).double().numpy().tobytes() if isinstance(one, Tensor) else
        repr(one).encode()
        for one in leaves
    )  # fmt: skip
