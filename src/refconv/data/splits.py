"""Which samples are in which split, and in which order an epoch takes them.

Splits are stratified and depend on the data alone, so that runs with different seeds share them. The order is a
function of seed and epoch: a run can start at any batch of any epoch, and one process with a batch of 2 B sees in each
step the samples that two processes with batches of B see together.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from refconv.errors import DataError
from refconv.process.randomness import derive_seed, hashes

T_co = TypeVar("T_co", covariant=True)


@dataclasses.dataclass(frozen=True)
class Parts(Generic[T_co]):
    """The splits that a data set brings; validation samples of its own are optional."""

    train: T_co
    val: T_co | None
    test: T_co


HELD_OUT = ("val", "validation", "valid", "test")  #: The names of parts that are not trained on


def held_out(names: Collection[str], *, where: str, val_split: float) -> tuple[str | None, str]:
    """Choose the parts to validate and to test on among those that the data brings.

    A single held-out part, whatever its name, is the test split: it is read once per finished run, and
    validation takes from the training samples. With both ``val`` and ``test`` each is what it says.

    Raises:
        DataError: if there is no held-out part, or validation samples would come from two places.
    """
    val = next((name for name in HELD_OUT[:-1] if name in names), None)
    if "test" not in names:
        if val is None:
            expected, found = "val, validation or test beside train", ", ".join(sorted(names))
            remedy = "set some images aside under one of these names"
            raise DataError("nothing to test on", where=where, expected=expected, found=found, remedy=remedy)
        return None, val
    if val is not None and val_split:
        expected, found = f"{val} or val_split", f"both {val} and val_split={val_split}"
        raise DataError("two validation splits", where=where, expected=expected, found=found, remedy="set val_split=0")
    return val, "test"


def stratified_split(labels: Tensor, fraction: float, *, purpose: str) -> tuple[Tensor, Tensor]:
    """Split samples, given their classes [n], in two parts with the same proportions of classes.

    Each class gives the whole part of its share; the classes with the largest remainders give one more, until
    the second part has ``round(fraction * n)`` samples. Different purposes draw different samples. Returns the indices
    of both parts, int64, in ascending order.
    """
    shares = torch.bincount(labels).double() * fraction
    taken = shares.floor().long()
    short = round(fraction * len(labels)) - int(taken.sum())
    taken[torch.argsort(taken - shares, stable=True)[: max(0, short)]] += 1
    second = []
    for label, count in enumerate(taken.tolist()):
        members = (labels == label).nonzero().flatten()
        second.append(epoch_order(members, seed=derive_seed("split", purpose), epoch=0)[:count])
    in_second = torch.zeros(len(labels), dtype=torch.bool)
    in_second[torch.cat(second)] = True
    return (~in_second).nonzero().flatten(), in_second.nonzero().flatten()


def validation_split(
    labels: Tensor, fraction: float, *, name: str, class_names: Sequence[str]
) -> tuple[Tensor, Tensor]:
    """Return the indices of the training data to train and to validate on, whatever the run's seed."""
    where = f"val_split of {name}"
    if not 0 <= fraction < 1:
        raise DataError("invalid fraction", where=where, expected="0 <= val_split < 1", found=str(fraction))
    if fraction == 0:
        return torch.arange(len(labels)), torch.empty(0, dtype=torch.int64)
    train, val = stratified_split(labels, fraction, purpose="validation")
    found = f"{fraction} of {len(labels)} samples"
    if not len(val):
        what, remedy = "leaves nothing to validate on", "give a larger val_split"
        raise DataError(what, where=where, expected="at least one sample", found=found, remedy=remedy)
    left = torch.bincount(labels[train], minlength=len(class_names))
    emptied = [class_names[i] for i in ((left == 0) & (torch.bincount(labels, minlength=len(left)) > 0)).nonzero()]
    if emptied:
        what, expected = f"leaves nothing to train on in class {emptied[0]!r}", "at least one sample of every class"
        found += f", {len(emptied)} classes without any"
        raise DataError(what, where=where, expected=expected, found=found, remedy="give a smaller val_split")
    return train, val


def epoch_order(indices: Tensor, *, seed: int, epoch: int) -> Tensor:
    """Return sample indices [n], given in any order, sorted by a hash of (seed, epoch, index)."""
    indices = indices.sort().values
    return indices[torch.argsort(hashes(seed, epoch, indices), stable=True)]


_REPETITION = 2**40
"""An epoch that repeats samples takes them by their index, to which this is added once for each repetition before."""


def repeated(order: Tensor, times: float) -> Tensor:
    """Return as many samples as an order has, each ``times`` times in a row, as timm's RepeatAugSampler takes them.

    A repetition has a number of its own, from which its augmentation follows, and :func:`index_of` gives the index.
    Where ``times`` is not whole, position i has the sample number floor(i / times) of the order. Source: Hoffer et al.
    2020, "Augment your batch", arXiv 1901.09335; Touvron et al. 2021, arXiv 2012.12877.

    Example:
        >>> index_of(repeated(torch.tensor([3, 1, 2, 0]), 3)).tolist()
        [3, 3, 3, 1]
    """
    places = torch.arange(len(order))
    positions = places.double().div(times, rounding_mode="floor").long()
    first = torch.searchsorted(positions, positions)
    return order[positions] + (places - first) * _REPETITION


Index = TypeVar("Index", int, Tensor)


def index_of(number: Index) -> Index:
    """Return the index of a sample, given the number by which an epoch takes it; see :func:`repeated`."""
    return number % _REPETITION


def batch_count(size: int, *, batch_size: int, world_size: int = 1) -> int:
    """Return the batches of an epoch; an incomplete last one is dropped, unless it is the only one."""
    assert batch_size > 0, batch_size
    if size < world_size:
        expected, remedy = f"at least one for each of {world_size} processes", "start fewer processes or give more data"
        raise DataError("too few training samples", expected=expected, found=str(size), remedy=remedy)
    return max(1, size // (batch_size * world_size))


def train_index_batches(
    indices: Tensor,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    first_batch: int = 0,
    rank: int = 0,
    world_size: int = 1,
    repeats: float = 0.0,
) -> list[Tensor]:
    """Return the batches of sample indices that one process sees in one epoch, from ``first_batch`` on.

    With ``repeats`` they are numbers as of :func:`repeated`, and repetitions of a sample go to different processes.
    """
    assert 0 <= rank < world_size, (rank, world_size)
    count = batch_count(len(indices), batch_size=batch_size, world_size=world_size)
    assert 0 <= first_batch <= count, (first_batch, count)
    order = epoch_order(indices, seed=seed, epoch=epoch)
    if repeats:
        order = repeated(order, repeats)
    together = order.split(batch_size * world_size)[first_batch:count]
    return [batch[rank::world_size] if repeats else batch.tensor_split(world_size)[rank] for batch in together]


def eval_index_batches(size: int, *, batch_size: int, rank: int = 0, world_size: int = 1) -> list[Tensor]:
    """Return the batches of positions that one process evaluates: every ``world_size``-th, none twice."""
    assert batch_size > 0, batch_size
    assert 0 <= rank < world_size, (rank, world_size)
    mine = torch.arange(size)[rank::world_size]
    return list(mine.split(batch_size)) if len(mine) else []
