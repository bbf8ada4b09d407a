"""Checks that results can be written, made before the work whose results they are."""

from __future__ import annotations

import os
from pathlib import Path

from refconv.errors import RunError


def check_file(path: Path) -> None:
    """Make sure that a file can be written at ``path``; its folder need not exist.

    Raises:
        RunError: if a folder is there, or the folder cannot be made or written to.
    """
    if path.is_dir():
        raise RunError("cannot be written: a folder is there", where=str(path), remedy="name a file in it")
    check_folder(path.parent)


def check_folder(path: Path) -> None:
    """Make sure that files can be written into ``path``, which need not exist.

    Raises:
        RunError: if a file is there or above it, or the folder cannot be made or written to.
    """
    there = next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise RunError("cannot be a folder", where=str(path), found=f"a file {there}", remedy="give another place")
    if not os.access(there, os.W_OK | os.X_OK):
        raise RunError(
            "cannot be written to", where=str(path), found=f"no right to write in {there}", remedy="give another place"
        )
