"""Pictures without labels: where they lie, how large they are, and their values."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refconv.data.folder import EXTENSIONS, images_below
from refconv.data.images import FileImages, PathTable, decoded, sizes_of
from refconv.data.photographs import PHOTOGRAPHS, photographs
from refconv.data.preprocessing import IMAGE_MODES
from refconv.data.splits import Parts, held_out
from refconv.errors import DataError

PHOTOGRAPHS_NAME = "photographs"
FOLDER_PREFIX = "images"


@dataclasses.dataclass(frozen=True)
class Pictures(FileImages):
    """The pictures of one split.

    Attributes:
        names: of each, what it is called whatever folder the data lies in.
        sizes: height and width of each, int64 [n, 2].
    """

    names: tuple[str, ...]
    sizes: Tensor

    def values(self, index: int, in_chans: int) -> Tensor:
        """Return one picture, uint8 [C, H, W].

        Raises:
            DataError: if it cannot be read.
        """
        image = decoded(self, index, IMAGE_MODES[in_chans])
        return torch.from_numpy(np.asarray(image).copy()).reshape(image.height, image.width, -1).permute(2, 0, 1)


def open_pictures(
    name: str, root: str | None, *, val_split: float = 0.0, for_training: bool = True
) -> Parts[Pictures | None]:
    """Find pictures by name.

    Args:
        name: ``photographs`` or ``images:FOLDER``. Beside a folder ``train`` there may be ``val``, ``test`` or both; a
            folder without one is trained on whole, but for ``val_split``, and has no test split.
        root: the folder that FOLDER lies in.
        val_split: share of the training pictures to validate on; must be 0 where ``val`` and ``test`` are both there.
        for_training: False leaves the training pictures out, and a folder without ``train`` is the test split.

    Returns:
        The splits; the training and the test pictures are None where there are none.

    Raises:
        DataError: if the data is unknown, missing, empty, or has two validation splits.
    """
    if name == PHOTOGRAPHS_NAME:
        _, _ = held_out(["train", "val", "test"], where=name, val_split=val_split)
        folder = photographs()
        train, val, test = (
            _pictures(folder, [folder / entry for entry in entries or ()])
            for entries in (PHOTOGRAPHS.train, PHOTOGRAPHS.val, PHOTOGRAPHS.test)
        )
        return Parts(train if for_training else None, val, test)
    kind, colon, path = name.partition(":")
    folder = Path(root or "", path)
    if not colon or kind != FOLDER_PREFIX:
        raise DataError(
            "unknown data for restoration",
            where=name,
            expected=f"{PHOTOGRAPHS_NAME} or {FOLDER_PREFIX}:FOLDER",
            remedy=f"write {FOLDER_PREFIX}:{name} to read that folder" if Path(root or "", name).is_dir() else None,
        )
    if not folder.is_dir():
        raise DataError("no such folder", where=name, remedy="give the folder that holds the images")
    names = [entry.name for entry in folder.iterdir() if entry.is_dir()]
    if "train" not in names:
        everything = _below(folder)
        return Parts(everything, None, None) if for_training else Parts(None, None, everything)
    trained = _below(folder / "train") if for_training else None
    if names == ["train"]:
        return Parts(trained, None, None)
    chosen, tested = held_out(names, where=name, val_split=val_split)
    return Parts(trained, None if chosen is None else _below(folder / chosen), _below(folder / tested))


def _below(folder: Path) -> Pictures:
    """List the pictures anywhere below a folder, in the order of their names.

    Raises:
        DataError: if there are none, or one is no image.
    """
    paths = [Path(path) for path in images_below(folder)]
    if not paths:
        raise DataError(
            "no images", where=str(folder), expected=f"files that end in {', '.join(EXTENSIONS)}", found="none"
        )
    return _pictures(folder, sorted(paths))


def _pictures(folder: Path, paths: Sequence[Path]) -> Pictures:
    sizes = torch.tensor([sizes_of(str(path))[0][::-1] for path in paths], dtype=torch.int64)
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    labels = torch.zeros(len(paths), dtype=torch.int64)
    return Pictures(PathTable(paths), labels, (FOLDER_PREFIX,), names, sizes)
