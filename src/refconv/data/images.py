"""Images that lie on a disk: where they are, what class they have, and how one is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import torch
from PIL import Image
from torch import Tensor

from refconv.data.decoding import decode, open_image, reading


class Images(Protocol):
    """Labelled images of one split; picklable, as worker processes get a copy."""

    @property
    def labels(self) -> Tensor:
        """The class of each image, int64 [n]."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """One name per class."""

    def open(self, index: int) -> Image.Image:
        """Return one image, perhaps not decoded yet."""

    def where(self, index: int) -> str:
        """Name one image for an error message."""


def decoded(images: Images, index: int, mode: str) -> Image.Image:
    """Read one image whole, as :func:`refconv.data.decoding.decode` does.

    Args:
        images: where it comes from.
        index: which one.
        mode: PIL's mode, ``L`` or ``RGB``.

    Raises:
        DataError: if it cannot be read; the message names it.
    """
    with reading(images.where(index)):
        image = images.open(index)
        with image:  # closes the file
            return decode(image, where=images.where(index)).convert(mode)


@dataclasses.dataclass(frozen=True)
class FileImages:
    """Images in files of their own.

    Attributes:
        paths: where they are.
        labels: the class of each, int64 [n].
        class_names: one name per class.
    """

    paths: PathTable
    labels: Tensor
    class_names: tuple[str, ...]

    def open(self, index: int) -> Image.Image:
        """Return one image, not decoded yet."""
        return open_image(self.where(index))

    def where(self, index: int) -> str:
        """Return the path of one image."""
        return self.paths[index]


class PathTable:
    """Many paths in two tensors, which worker processes share; a list of a million strings each would copy.

    Args:
        paths: the paths.

    Example:
        >>> table = PathTable(["a/b.png", "é.png"])
        >>> len(table), table[1]
        (2, 'é.png')
    """

    def __init__(self, paths: Sequence[Path | str]) -> None:
        # surrogateescape: names on a Linux disk may hold any bytes.
        encoded = [str(path).encode("utf-8", "surrogateescape") for path in paths]
        self._text = torch.frombuffer(bytearray(b"".join(encoded) or b"\0"), dtype=torch.uint8)
        self._ends = torch.tensor([0, *map(len, encoded)]).cumsum(0)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        piece = self._text[self._ends[index] : self._ends[index + 1]]
        return piece.numpy().tobytes().decode("utf-8", "surrogateescape")
