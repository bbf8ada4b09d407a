"""Small files of text, such as lists of classes and of images."""

from __future__ import annotations

import os
from pathlib import Path

from refconv.errors import DataError, said_by


def there(path: Path | str) -> bool:
    """Say whether there is a file of this name, however long it is and whatever it holds."""
    return os.path.isfile(path)  # noqa: PTH113  # Path.is_file refuses long names


def text_of(path: Path) -> str:
    """Return the text of a small file.

    Raises:
        DataError: if it cannot be read, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        remedy = "save the file as UTF-8 text, or download it again"
        raise DataError("cannot be read", where=str(path), found=said_by(error), remedy=remedy) from error
