"""Pictures without labels, for restoration: where they are, how large they are, and their values.

Those that need no network are the colour photographs in scikit-image's wheel, split by image: no scene is in two splits
(the motorcycle is there twice, from the left and from the right). Some were JPEG files and carry traces of it. The rest
of the wheel's images are drawings, diagrams, grey, or smaller.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from refconv.data.images import EXTENSIONS, FileImages, PathTable, apart, decoded, images_below, sizes_of
from refconv.data.preprocessing import IMAGE_MODES
from refconv.data.splits import Parts, held_out
from refconv.errors import DataError
from refconv.paths import path_of

_MOTORCYCLES = ("motorcycle_left.png", "motorcycle_right.png")
PHOTOGRAPHS: Parts[tuple[str, ...]] = Parts(
    train=("astronaut.png", "hubble_deep_field.jpg", "ihc.png", *_MOTORCYCLES, "retina.jpg"),
    val=("rocket.jpg",),
    test=("chelsea.png", "coffee.png"),
)
"""The names of the files of each split."""


@dataclasses.dataclass(frozen=True)
class Pictures(FileImages):
    """The pictures of one split: names that hold whatever folder the data is in; height and width, int64 [n, 2]."""

    names: tuple[str, ...]
    sizes: Tensor

    def values(self, index: int, in_chans: int) -> Tensor:
        """Return one picture, uint8 [C, H, W]."""
        image = decoded(self, index, IMAGE_MODES[in_chans])
        return torch.from_numpy(np.asarray(image).copy()).reshape(image.height, image.width, -1).permute(2, 0, 1)


def open_pictures(
    name: str, root: str | None, *, val_split: float = 0.0, for_training: bool = True
) -> Parts[Pictures | None]:
    """Find pictures by name: ``photographs``, or ``images:FOLDER`` below ``root``.

    Beside a folder ``train`` there may be ``val``, ``test`` or both; a folder without one is trained on whole, but for
    ``val_split``, and has no test split. ``for_training=False`` leaves the training pictures out, and a folder without
    ``train`` is the test split. Splits without pictures are None.

    Raises:
        DataError: if the data is unknown, missing, empty, or has two validation splits.
    """
    if name == "photographs":
        held_out(["train", "val", "test"], where=name, val_split=val_split)
        folder = _photographs()
        train, val, test = (
            _pictures(folder, [folder / entry for entry in entries or ()])
            for entries in (PHOTOGRAPHS.train, PHOTOGRAPHS.val, PHOTOGRAPHS.test)
        )
        return Parts(train if for_training else None, val, test)
    kind, colon, path = name.partition(":")
    folder = path_of(root, path)
    if not colon or kind != "images":
        remedy = f"write images:{name} to read that folder" if path_of(root, name).is_dir() else None
        expected = "photographs or images:FOLDER"
        raise DataError("unknown data for restoration", where=name, expected=expected, remedy=remedy)
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
    parts = Parts(trained, None if chosen is None else _below(folder / chosen), _below(folder / tested))
    return apart(parts, lambda part: part.paths, where=name)


def _photographs() -> Path:
    """Return the folder that holds the photographs."""
    try:
        import skimage
    except ImportError as error:
        raise DataError(
            "needs scikit-image, which is not installed", where="photographs", remedy='pip install "refconv[tasks]"'
        ) from error
    folder = Path(str(skimage.__file__)).parent / "data"
    names = (*PHOTOGRAPHS.train, *(PHOTOGRAPHS.val or ()), *PHOTOGRAPHS.test)
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        what = "this version of scikit-image does not contain the photographs"
        expected, found = ", ".join(names), f"{len(missing)} missing: {', '.join(missing)}"
        remedy = "install scikit-image 0.26, or name a folder: images:FOLDER"
        raise DataError(what, where=str(folder), expected=expected, found=found, remedy=remedy)
    return folder


def _below(folder: Path) -> Pictures:
    """List the pictures anywhere below a folder, in the order of their names."""
    paths = [Path(path) for path in images_below(folder)]
    if not paths:
        expected = f"files that end in {', '.join(EXTENSIONS)}"
        remedy = "put images there, or give the folder that holds them"
        raise DataError("no images", where=str(folder), expected=expected, found="none", remedy=remedy)
    return _pictures(folder, sorted(paths))


def _pictures(folder: Path, paths: Sequence[Path]) -> Pictures:
    sizes = torch.tensor([sizes_of(str(path))[0][::-1] for path in paths], dtype=torch.int64)
    names = tuple(path.relative_to(folder).as_posix() for path in paths)
    labels = torch.zeros(len(paths), dtype=torch.int64)
    return Pictures(PathTable(paths), labels, ("images",), names, sizes)
