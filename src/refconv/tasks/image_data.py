"""What the data of several tasks share: augmentation, text files, missing files, splits, batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Sized
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

from refconv.data.dataset import Batch, Split
from refconv.data.preprocessing import IMAGE_MODES
from refconv.data.splits import Parts, held_out, validation_split
from refconv.data.texts import text_of
from refconv.errors import DataError
from refconv.recipe.recipe import Recipe

CLASSES_FILE = "classes.txt"

_REMEDIES = {
    "file": "add the file, or remove the entry that names it",
    "folder": "check the path, and add what is missing",
}

T = TypeVar("T", bound=Sized)
Settings = TypeVar("Settings")


def missing(
    kind: str, what: str, *, where: object, expected: object = None, found: str | None = None, remedy: str | None = None
) -> DataError:
    """Return the error for a missing ``file`` or ``folder``, which says a remedy in any case."""
    wanted = None if expected is None else str(expected)
    return DataError(what, where=str(where), expected=wanted, found=found, remedy=remedy or _REMEDIES[kind])


def augmentation_of(recipe: Recipe, kind: type[Settings]) -> Settings:
    """Return the settings of an augmentation, a dataclass, that a recipe holds."""
    given = {**recipe.to_dict(), "auto_augment": recipe.aa}
    given["interpolation"] = recipe.train_interpolation or recipe.interpolation
    return kind(**{field.name: given[field.name] for field in dataclasses.fields(cast(Any, kind))})


def image_channels(in_chans: int | None, *, name: str) -> int:
    """Return how many channels images have: 3 by default, or 1."""
    if in_chans not in {*IMAGE_MODES, None}:
        raise DataError("images have 1 or 3 channels", where=name, found=f"in_chans={in_chans}")
    return in_chans or 3


def first_words(path: Path) -> list[str]:
    """Return the names of images in a list, which may say more about each."""
    return [line.split()[0] for line in text_of(path).splitlines() if line.strip()]


def listed(names: Iterable[str] | Iterable[int]) -> str:
    """Return the first of some names or numbers for an error."""
    found = [str(name) for name in sorted(names)]
    return ", ".join(found[:8]) + (f" and {len(found) - 8} more" if len(found) > 8 else "") if found else "nothing"


def read_parts(names: Collection[str], read: Callable[[str], T], *, where: Path, val_split: float) -> Parts[T]:
    """Read the splits that are trained, validated and tested on among those that the data brings."""
    val, test = held_out(names, where=str(where), val_split=val_split)
    found = {name: read(name) for name in ("train", val, test) if name is not None}
    return Parts(found["train"], None if val is None else found[val], found[test])


def divided(parts: Parts[T], val_split: float, *, name: str) -> tuple[dict[Split, T], dict[Split, Tensor]]:
    """Return, for each split, the part that holds its images, and their indices in it."""
    alike = torch.zeros(len(parts.train), dtype=torch.int64)
    train, val = validation_split(alike, val_split, name=name, class_names=("images",))
    if parts.val is not None:
        val = torch.arange(len(parts.val))
    validated = parts.train if parts.val is None else parts.val
    held: dict[Split, T] = {"train": parts.train, "val": validated, "test": parts.test}
    return held, {"train": train, "val": val, "test": torch.arange(len(parts.test))}


def stacked(samples: list[tuple[Tensor, Tensor]]) -> Batch:
    """Return a batch of samples and targets of one size."""
    images, targets = zip(*samples, strict=True)
    return torch.stack(images), torch.stack(targets)
