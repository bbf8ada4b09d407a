"""Images in folders named after their classes: ``PATH/train/CLASS/image.jpg`` and ``PATH/val/CLASS/image.jpg``."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import torch

from refconv.data.class_names import Classes
from refconv.data.images import FileImages, PathTable
from refconv.data.splits import HELD_OUT, Parts, held_out
from refconv.errors import DataError

EXTENSIONS = (".jpg", ".jpeg", ".jfif", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp", ".gif")
_NO_IMAGES = {"@eaDir", "@Recycle", "@tmp", "#recycle", "#snapshot", "__MACOSX", "$RECYCLE.BIN", "lost+found"}
"""Folders of thumbnails, resource forks and deleted files, which network drives and operating systems make."""


def folder_images(path: Path, *, val_split: float, for_training: bool = True) -> Parts[FileImages | None]:
    """List the images of every split; a folder with neither ``train`` nor a held-out folder is the test split.

    The held-out folders may hold some of the training folder's classes only; labels are those of the training folder.

    Raises:
        DataError: if a folder is missing, a class is empty, or a held-out folder has a class that ``train`` has not.
    """
    if not path.is_dir():
        raise DataError("no such folder", where=f"folder:{path}", remedy="give the folder that holds train and val")
    names = [entry.name for entry in path.iterdir() if entry.is_dir()]
    if "train" not in names and for_training:
        raise DataError(
            "no training images",
            where=str(path),
            expected="a folder train with one folder per class",
            found=_listed(names) if names else "no folders",
            remedy=f"put the images to train on into {path / 'train'}",
        )
    if not {"train", *HELD_OUT} & {*names}:
        return Parts(train=None, val=None, test=class_folders(path))
    val, test = held_out(names, where=str(path), val_split=val_split)
    train = class_folders(path / "train") if "train" in names else None
    tested = class_folders(path / test)
    validated = None if val is None else class_folders(path / val)
    classes = Classes((tested if train is None else train).class_names, remedy="give the splits the same class folders")
    labelled = None if validated is None else _labelled(validated, classes, path / str(val))
    return Parts(train, labelled, _labelled(tested, classes, path / test))


def class_folders(root: Path) -> FileImages:
    """List the images below the class folders of one split, in the order of their names."""
    classes = sorted(entry.name for entry in root.iterdir() if _is_followed(str(root), entry.name))
    if not classes:
        raise DataError(
            "empty folder",
            where=str(root),
            expected="one folder per class",
            found="none",
            remedy="put the images of each class into a folder of its name",
        )
    paths: list[str] = []
    counts = []
    for name in classes:
        found = images_below(root / name)
        if not found:
            raise DataError(
                "class without images",
                where=str(root / name),
                expected=f"files that end in {_listed(EXTENSIONS)}",
                found="none",
                remedy="add images or remove the folder",
            )
        paths += found
        counts.append(len(found))
    labels = torch.repeat_interleave(torch.arange(len(classes)), torch.tensor(counts))
    return FileImages(PathTable(paths), labels, tuple(classes))


def images_below(folder: Path) -> list[str]:
    """Return the paths of the images anywhere below a folder, sorted.

    Hidden files and folders (``._x.jpg``, ``.ipynb_checkpoints``) and folders of thumbnails and deleted files
    (``@eaDir``, ``__MACOSX``) are passed over. Links to folders are followed, but not to one that contains the link,
    and no folder is read twice.
    """
    found: list[str] = []
    seen = {os.path.realpath(folder)}
    # os.walk, because Path.walk is not in Python 3.10 and Path.rglob does not follow links to folders.
    for place, folders, files in os.walk(folder, followlinks=True):
        entered = []
        for name in sorted(folders):
            real = os.path.realpath(Path(place, name))
            if real not in seen and _is_followed(place, name):
                seen.add(real)
                entered.append(name)
        folders[:] = entered
        found += [
            os.path.join(place, name)  # noqa: PTH118  (a million Path objects cost seconds)
            for name in files
            if name.lower().endswith(EXTENSIONS) and not name.startswith(".")
        ]
    return sorted(found)


def _is_followed(place: str, name: str) -> bool:
    """Say whether an entry is a folder that may hold images of its own; a link to a folder around it is none."""
    path = Path(place, name)
    if name.startswith(".") or name in _NO_IMAGES or not path.is_dir():
        return False
    return not (path.is_symlink() and Path(place).resolve().is_relative_to(path.resolve()))


def _labelled(part: FileImages, classes: Classes, where: Path) -> FileImages:
    """Return the images of a split with the labels of the training folder."""
    outputs = torch.tensor(classes.match(part.class_names, where=str(where)).outputs)
    return dataclasses.replace(part, labels=outputs[part.labels], class_names=classes.names)


def _listed(names: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(sorted(names)[:12])
    return shown if len(names) <= 12 else f"{shown} and {len(names) - 12} more"
