"""Which samples are in which split, and in which order an epoch takes them.

Splits are stratified and depend on the data alone, so that runs with different seeds share them. The order is a
function of seed and epoch: a run can start at any batch of any epoch, and a step has the same samples into however many
processes its batch is cut.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor

from refconv.errors import DataError, SettingError
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


def batch_count(size: int, *, batch_size: int) -> int:
    """Return the batches of an epoch; an incomplete last one is dropped, unless it is the only one."""
    assert batch_size > 0, batch_size
    return max(1, size // batch_size)


def share_of(size: int, *, rank: int, world_size: int, pairs: bool = False, woven: bool = False) -> Tensor:
    """Return which positions of a batch of ``size`` samples a process has, int64, as even as can be; perhaps none.

    They follow one another or, if the shares are ``woven``, every ``world_size``-th is one's own. With ``pairs``, each
    position i comes with its partner size - 1 - i: the share in reverse is the partners of the share.

    Example:
        >>> [share_of(8, rank=rank, world_size=3, pairs=True).tolist() for rank in range(3)]
        [[0, 3, 4, 7], [1, 6], [2, 5]]
    """
    assert 0 <= rank < world_size, (rank, world_size)
    assert not (pairs and size % 2), size
    heads = torch.arange(size // 2 if pairs else size)
    own = heads[rank::world_size] if pairs or woven else heads.tensor_split(world_size)[rank]
    return torch.cat([own, size - 1 - own.flip(0)]) if pairs else own


def taken_by(size: int, **share: Any) -> Tensor:
    """Return the positions of :func:`share_of`, or of one sample or pair where it has none: a network needs some."""
    own = share_of(size, **share)
    filler = [0, size - 1] if share.get("pairs") else [0]
    return own if len(own) else torch.tensor(filler)


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
    pairs: bool = False,
) -> list[Tensor]:
    """Return one process's shares of the batches of sample indices of one epoch, from ``first_batch`` on.

    ``batch_size`` is of all processes together, which get what :func:`taken_by` says. With ``repeats`` indices are
    numbers as of :func:`repeated`, and repetitions of a sample go to different processes.
    """
    count = batch_count(len(indices), batch_size=batch_size)
    assert 0 <= first_batch <= count, (first_batch, count)
    order = epoch_order(indices, seed=seed, epoch=epoch)
    if repeats:
        order = repeated(order, repeats)
    together = order.split(batch_size)[first_batch:count]
    how = {"rank": rank, "world_size": world_size, "pairs": pairs, "woven": bool(repeats)}
    return [batch[taken_by(len(batch), **how)] for batch in together]


def balanced_index_batches(
    indices: Tensor, labels: Tensor, per_class: int, *, seed: int, epoch: int, batch_size: int, first_batch: int = 0,
    rank: int = 0, world_size: int = 1,
) -> list[Tensor]:  # fmt: skip
    """Return batches as :func:`train_index_batches` does, of ``per_class`` samples of each of some classes.

    Every batch draws its classes anew, none twice, as pytorch-metric-learning's ``MPerClassSampler`` does. The samples
    of a class come in an order of the epoch, over and over: none is taken again before all others of its class were. A
    class of fewer samples than ``per_class`` repeats them within a batch. ``labels`` are the classes of the indices.

    Raises:
        SettingError: if a batch cannot be cut into so many samples of a class, or there are too few classes.
    """
    count = balanced_batch_count(labels, per_class, batch_size=batch_size)
    assert 0 <= first_batch <= count, (first_batch, count)
    classes, slots = labels.unique(), batch_size // per_class
    orders = {label: epoch_order(indices[labels == label], seed=seed, epoch=epoch) for label in classes.tolist()}
    taken = dict.fromkeys(orders, 0)
    batches = []
    for number in range(count):
        drawn = torch.argsort(hashes(derive_seed("classes", seed, epoch), number, classes), stable=True)[:slots]
        parts = []
        for label in classes[drawn].tolist():
            order, start = orders[label], taken[label]
            parts.append(order[torch.arange(start, start + per_class) % len(order)])
            taken[label] += per_class
        together = torch.cat(parts)
        batches.append(together[taken_by(len(together), rank=rank, world_size=world_size)])
    return batches[first_batch:]


def balanced_batch_count(labels: Tensor, per_class: int, *, batch_size: int) -> int:
    """Return the batches of an epoch of :func:`balanced_index_batches`, as many as of any samples."""
    where, found = "samples_per_class", str(per_class)
    if batch_size % per_class:
        what, expected = "a batch cannot be cut into classes", f"a divisor of {batch_size}, the samples of a batch"
        raise SettingError(what, where=where, expected=f"{expected} in one part", found=found)
    slots, classes = batch_size // per_class, len(labels.unique())
    if slots > classes:
        expected, remedy = f"{slots} classes in the training data", "give a smaller batch_size, or more of each class"
        raise SettingError(
            "too few classes for a batch", where=where, expected=expected, found=str(classes), remedy=remedy
        )
    return batch_count(len(labels), batch_size=batch_size)


def eval_index_batches(size: int, *, batch_size: int, rank: int = 0, world_size: int = 1) -> list[Tensor]:
    """Return the batches of positions that one process evaluates: every ``world_size``-th, none twice."""
    assert batch_size > 0, batch_size
    assert 0 <= rank < world_size, (rank, world_size)
    mine = torch.arange(size)[rank::world_size]
    return list(mine.split(batch_size)) if len(mine) else []
