"""Where the scenes lie that a recipe names."""

from __future__ import annotations

from pathlib import Path

from refconv.data.cache import cache_folder
from refconv.data.scenes.making import RECORD_FILE
from refconv.errors import DataError


def default_folder() -> Path:
    """Return where scenes are written and looked for when no folder is given: below the user's cache folder."""
    return cache_folder() / "scenes"


def scenes_folder(name: str, root: str | None = None) -> Path:
    """Return the folder of scenes that a recipe names.

    Args:
        name: ``scenes`` or ``scenes:FOLDER``.
        root: for ``scenes`` the folder itself, by default :func:`default_folder`; else what FOLDER is relative to.

    Raises:
        DataError: if there are no scenes.
    """
    _, colon, path = name.partition(":")
    folder = Path(root or "", path) if colon else Path(root) if root else default_folder()
    if not (folder / RECORD_FILE).is_file():
        raise DataError(
            "no scenes found", where=str(folder), expected=RECORD_FILE, remedy=f"refconv data scenes --out {folder}"
        )
    return folder
