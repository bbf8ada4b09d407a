"""Stratified splits that are fixed by the data alone, so that runs with different seeds share them."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from refconv.data.order import epoch_order
from refconv.errors import DataError
from refconv.process.randomness import derive_seed

T_co = TypeVar("T_co", covariant=True)


@dataclasses.dataclass(frozen=True)
class Parts(Generic[T_co]):
    """What a data set brings: training samples, held-out samples, and perhaps validation samples of its own."""

    train: T_co
    val: T_co | None
    test: T_co


HELD_OUT = ("val", "validation", "valid", "test")
"""The names of parts that are not trained on."""


def held_out(names: Collection[str], *, where: str, val_split: float) -> tuple[str | None, str]:
    """Choose the parts to validate and to test on among those that the data brings.

    A single held-out part, whatever its name, is the test split: it is read once per finished run, and
    validation takes from the training samples. With both ``val`` and ``test`` each is what it says.

    Args:
        names: the parts that are there.
        where: the data, for the error message.
        val_split: share of the training samples to validate on.

    Returns:
        The name of the part to validate on, or None, and of the part to test on.

    Raises:
        DataError: if there is no held-out part, or validation samples would come from two places.

    Example:
        >>> held_out(["train", "val"], where="here", val_split=0.1)
        (None, 'val')
        >>> held_out(["train", "val", "test"], where="here", val_split=0.0)
        ('val', 'test')
    """
    val = next((name for name in HELD_OUT[:-1] if name in names), None)
    if "test" not in names:
        if val is None:
            raise DataError(
                "nothing to test on",
                where=where,
                expected="val, validation or test beside train",
                found=", ".join(sorted(names)),
                remedy="set some images aside under one of these names",
            )
        return None, val
    if val is not None and val_split:
        raise DataError(
            "two validation splits",
            where=where,
            expected=f"{val} or val_split",
            found=f"both {val} and val_split={val_split}",
            remedy="set val_split=0",
        )
    return val, "test"


def stratified_split(labels: Tensor, fraction: float, *, purpose: str) -> tuple[Tensor, Tensor]:
    """Split samples in two so that both parts hold the classes in the same proportions.

    Each class gives the whole part of its share; the classes with the largest remainders give one more, until
    the second part has ``round(fraction * n)`` samples.

    Args:
        labels: the class of each sample, int64 [n].
        fraction: the share of the second part, in [0, 1).
        purpose: names the split; different purposes draw different samples.

    Returns:
        The indices of the first and of the second part, int64, each in ascending order.
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
    """Take a validation split from the training data, the same one whatever the run's seed.

    Args:
        labels: the class of each training sample, int64 [n].
        fraction: the share to validate on, in [0, 1).
        name: the data set, for the error message.
        class_names: one name per class, for the error message.

    Returns:
        The indices trained on and the indices validated on, int64.

    Raises:
        DataError: if the fraction is no share, or leaves a part or a class with nothing.
    """
    where = f"val_split of {name}"
    if not 0 <= fraction < 1:
        raise DataError("invalid fraction", where=where, expected="0 <= val_split < 1", found=str(fraction))
    if fraction == 0:
        return torch.arange(len(labels)), torch.empty(0, dtype=torch.int64)
    train, val = stratified_split(labels, fraction, purpose="validation")
    if not len(val):
        raise DataError(
            "leaves nothing to validate on",
            where=where,
            expected="at least one sample",
            found=f"{fraction} of {len(labels)} samples",
            remedy="give a larger val_split",
        )
    left = torch.bincount(labels[train], minlength=len(class_names))
    emptied = [class_names[i] for i in ((left == 0) & (torch.bincount(labels, minlength=len(left)) > 0)).nonzero()]
    if emptied:
        raise DataError(
            f"leaves nothing to train on in class {emptied[0]!r}",
            where=where,
            expected="at least one sample of every class",
            found=f"{fraction} of {len(labels)} samples, {len(emptied)} classes without any",
            remedy="give a smaller val_split",
        )
    return train, val
