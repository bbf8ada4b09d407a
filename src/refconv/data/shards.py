"""Shards of webdataset on a disk (``wds:FOLDER``), read by index and not as a stream, so that a run is resumed exactly.

A tar file that is not compressed can be read anywhere. Opening reads the head of every file in the shards, and the
labels, once; images are read where they lie. Splits are ``SPLIT-*.tar`` or ``SPLIT/*.tar``. A sample is an image and,
with the same name, its class: ``NAME.cls`` (a number in words) or ``NAME.json`` with a ``label``. The names of the
classes are the lines of ``classes.txt``, if that is there.
"""

from __future__ import annotations

import dataclasses
import io
import re
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from refconv.data.images import EXTENSIONS, PathTable, open_image
from refconv.data.named_splits import parts_of
from refconv.data.splits import HELD_OUT, Parts
from refconv.data.texts import text_of
from refconv.errors import DataError, in_one_line
from refconv.records import conformed, parsed_json

_CLASSES = "classes.txt"
_CLASSES_AT_MOST = 10**7
_LABEL = 1 << 20  # bytes of what says the class of an image


@dataclasses.dataclass(frozen=True)
class ShardImages:
    """One split as :class:`~refconv.data.images.Images`."""

    shards: PathTable
    names: PathTable  #: of the images in their shards
    places: Tensor  #: shard, offset in it and size of each image, int64 [n, 3]
    labels: Tensor
    class_names: tuple[str, ...]

    def open(self, index: int) -> Image.Image:
        """Return one image, not decoded yet."""
        shard, offset, size = self.places[index].tolist()
        with Path(self.shards[shard]).open("rb") as file:
            file.seek(offset)
            return open_image(io.BytesIO(file.read(size)))

    def where(self, index: int) -> str:
        """Name one image."""
        return f"{self.shards[int(self.places[index, 0])]}: {self.names[index]}"


def shard_images(folder: Path, *, val_split: float, for_training: bool = True) -> Parts[ShardImages | None]:
    """Open the splits whose shards are in a folder; the errors are also those of :func:`.named_splits.parts_of`.

    Raises:
        DataError: if the folder is missing, or a shard is damaged, compressed, or has samples without a class.
    """
    where = f"wds:{folder}"
    if not folder.is_dir():
        raise DataError("no such folder", where=where, remedy="give the folder that holds the shards")
    shards = {
        name: there
        for name in ("train", *HELD_OUT)
        if (there := sorted([*folder.glob(f"{name}-*.tar"), *folder.glob(f"{name}/*.tar")]))
    }
    listed = folder / _CLASSES
    named = text_of(listed).split("\n") if listed.is_file() else []
    names = tuple(name.strip() for name in named if name.strip())
    parts = {name: _samples(found) for name, found in shards.items()}
    highest = max((int(part.labels.max()) for part in parts.values()), default=-1)
    if names and highest >= len(names):
        found = f"class {highest} in a sample"
        raise DataError("too few classes", where=str(listed), expected=f"{highest + 1} lines", found=found)
    names = names or tuple(str(number) for number in range(highest + 1))
    complete = {name: dataclasses.replace(part, class_names=names) for name, part in parts.items()}
    return parts_of(
        tuple(complete), complete.__getitem__, where=where, val_split=val_split, for_training=for_training
    )  # fmt: skip


def _samples(shards: list[Path]) -> ShardImages:
    images: dict[tuple[int, str], tuple[str, int, int]] = {}
    labels: dict[tuple[int, str], int] = {}
    for number, shard in enumerate(shards):
        remedy = "unpack compressed shards to .tar; make damaged ones again"
        with (
            in_one_line(DataError, "unreadable shard", where=str(shard), remedy=remedy),
            tarfile.open(shard, "r:") as tar,
        ):
            for member in tar:
                path = PurePosixPath(member.name)
                stem, _, kind = path.name.partition(".")
                key = number, str(path.parent / stem)
                if not member.isfile() or path.name.startswith("."):
                    continue
                if f".{kind.lower()}".endswith(EXTENSIONS):
                    images[key] = member.name, member.offset_data, member.size
                elif kind in {"cls", "json"}:
                    labels[key] = _label(kind, _small(tar, member))
    keys = list(images)
    without = next((key for key in keys if key not in labels), None)
    if without is not None or not keys:
        found = f"{images[without][0]} without one" if without else "no image"
        expected = "images, each with a class in NAME.cls or NAME.json"
        raise DataError(
            "cannot be trained on", where=str(shards[without[0] if without else 0]), expected=expected, found=found
        )
    places = torch.tensor([[key[0], *images[key][1:]] for key in keys], dtype=torch.int64)
    names = PathTable([images[key][0] for key in keys])
    return ShardImages(PathTable(shards), names, places, torch.tensor([labels[key] for key in keys]), ())


def _small(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    """Return the text of a file that says a class, which is never large."""
    content = tar.extractfile(member)
    if content is None or member.size > _LABEL:
        raise ValueError(f"{member.name} of {member.size:,} bytes is no class")
    return content.read().decode()


def _label(kind: str, content: str) -> int:
    said = conformed(dict[str, Any], parsed_json(content)).get("label") if kind == "json" else content.strip()
    if type(said) is not int and not (isinstance(said, str) and re.fullmatch(r"\d{1,9}", said)):
        raise ValueError(f"expected a number as the label, found {said!r:.40}")
    found = int(said)
    if not 0 <= found < _CLASSES_AT_MOST:
        raise ValueError(f"class {found}")
    return found
