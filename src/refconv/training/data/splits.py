"""Stratified splits that are fixed by the data alone, so that runs with different seeds share them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from refconv.errors import DataError
from refconv.training.data.order import epoch_order
from refconv.training.randomness import derive_seed


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
        raise DataError("impossible share", where=where, expected="0 <= val_split < 1", found=str(fraction))
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
    emptied = [
        class_names[i] for i in ((left == 0) & (torch.bincount(labels, minlength=len(left)) > 0)).nonzero()
    ]
    if emptied:
        raise DataError(
            f"leaves nothing to train on in class {emptied[0]!r}",
            where=where,
            expected="at least one sample of every class",
            found=f"{fraction} of {len(labels)} samples, {len(emptied)} classes without any",
            remedy="give a smaller val_split",
        )
    return train, val
