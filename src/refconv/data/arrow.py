"""Data sets that Hugging Face's ``datasets`` saved on a disk (``hf:FOLDER``).

Samples are read by index from memory-mapped Arrow files and decoded when they are needed. So a data set may be larger
than the memory, and a run is resumed exactly.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from refconv.data.images import open_image
from refconv.data.named_splits import parts_of
from refconv.data.splits import Parts
from refconv.errors import DataError, in_one_line

PREFIX = "hf"


@dataclasses.dataclass(frozen=True)
class ArrowImages:
    """One split as :class:`~refconv.data.images.Images`; workers get its place on the disk, not its content."""

    split: str
    table: Any  #: a ``datasets.Dataset`` with the column of images alone, not decoded
    column: str
    labels: Tensor
    class_names: tuple[str, ...]

    def open(self, index: int) -> Image.Image:
        """Return one image, not decoded yet."""
        cell = self.table[index][self.column]
        if cell is None:
            raise ValueError("the cell is empty")
        return open_image(cell["path"] if cell["bytes"] is None else io.BytesIO(cell["bytes"]))

    def where(self, index: int) -> str:
        """Name one image."""
        return f"image {index} of {self.split}"


def arrow_images(folder: Path, *, val_split: float, for_training: bool = True) -> Parts[ArrowImages | None]:
    """Open the splits that ``DatasetDict.save_to_disk`` wrote into a folder.

    A folder with neither ``train`` nor a held-out split is an error, but one that holds a single data set is the test
    split. Labels are those of the training split, by the names of the classes.

    Raises:
        DataError: if the package or the folder is missing, or images or classes are not to be found in it.
    """
    where = f"{PREFIX}:{folder}"
    tables = _tables(folder, where)
    if not isinstance(tables, dict):
        if for_training:
            remedy = "save a DatasetDict, such as the result of train_test_split"
            raise DataError("a single data set", where=where, expected="splits train and test", remedy=remedy)
        return Parts(train=None, val=None, test=_images(tables, where))
    return parts_of(
        [*tables], lambda name: _images(tables[name], f"{where}/{name}"), where=where, val_split=val_split,
        for_training=for_training,
    )  # fmt: skip


def _tables(folder: Path, where: str) -> Any:
    if importlib.util.find_spec("datasets") is None:
        remedy = "pip install 'refconv[hf]'"
        raise DataError("needs a package that is not installed", where=where, expected="datasets", remedy=remedy)
    if not folder.is_dir():
        raise DataError("no such folder", where=where, remedy="give the folder that save_to_disk wrote")
    from datasets import load_from_disk

    remedy = "give the folder that save_to_disk wrote"
    with in_one_line(DataError, "cannot be opened", where=where, remedy=remedy):
        return load_from_disk(str(folder))


def _images(table: Any, where: str) -> ArrowImages:
    from datasets import ClassLabel, Image as ImageColumn, Value

    features = table.features
    image = _only(where, "images", [name for name, kind in features.items() if isinstance(kind, ImageColumn)])
    labelled = [name for name, kind in features.items() if isinstance(kind, ClassLabel)]
    whole = [name for name in ("label", "labels") if isinstance(features.get(name), Value)]
    label = _only(where, "classes", labelled or [name for name in whole if features[name].dtype.startswith("int")])
    numbers = table.select_columns([label]).with_format("numpy")[:][label]
    labels = torch.as_tensor(numbers, dtype=torch.int64).clone()
    names = getattr(features[label], "names", None) or map(str, range(int(labels.max()) + 1 if len(labels) else 0))
    names = tuple(names)
    if odd := [name for name in names if not isinstance(name, str)]:
        raise DataError("names of classes are no text", where=where, found=f"{odd[0]!r:.40}", remedy="save it again")
    if not len(labels) or int(labels.min()) < 0:
        what = "samples without a class" if len(labels) else "no samples"
        raise DataError(what, where=where, expected="a class for every sample", remedy="filter the data set")
    content = table.select_columns([image]).cast_column(image, ImageColumn(decode=False)).with_format(None)
    return ArrowImages(where, content, image, labels, names)


def _only(where: str, what: str, names: list[str]) -> str:
    if len(names) == 1:
        return names[0]
    kind = {"images": "Image", "classes": "ClassLabel"}[what]
    remedy = "remove_columns leaves one" if names else "cast_column, or class_encode_column for words, makes one"
    found = ", ".join(names) or "none"
    raise DataError(
        f"no single column of {what}", where=where, expected=f"one of type {kind}", found=found, remedy=remedy
    )
