"""Splits that a data set brings by name: which are there, which are used for what, and one order of the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, TypeVar

import torch

from refconv.data.class_names import Classes
from refconv.data.splits import HELD_OUT, Parts, held_out
from refconv.errors import DataError

T = TypeVar("T")  #: a dataclass with labels and class_names, see :class:`~refconv.data.images.Images`


def parts_of(
    names: Collection[str], opened: Callable[[str], T], *, where: str, val_split: float, for_training: bool
) -> Parts[T | None]:
    """Open the splits that are used. Labels are those of the training split, by the names of the classes.

    Raises:
        DataError: if a split is missing, or a held-out one has a class that ``train`` has not.
    """
    if "train" not in names and for_training:
        raise DataError("no training images", where=where, expected="a split train", found=", ".join(names) or "none")
    if not {"train", *HELD_OUT} & {*names}:
        raise DataError("nothing to test on", where=where, expected="a split test", found=", ".join(names) or "none")
    val, test = held_out(names, where=where, val_split=val_split)
    found: dict[str, Any] = {name: opened(name) for name in ("train", val, test) if name is not None and name in names}
    classes = Classes(found.get("train", found[test]).class_names, remedy="give the splits the same classes")
    for name in sorted({name for name in (val, test) if name is not None}):
        part = found[name]
        outputs = torch.tensor(classes.match(part.class_names, where=f"{where}/{name}").outputs)
        found[name] = dataclasses.replace(part, labels=outputs[part.labels], class_names=classes.names)
    return Parts(found.get("train"), None if val is None else found[val], found[test])
