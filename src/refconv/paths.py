"""Paths as a user writes them: ``~`` at their start is the home folder, also where no shell has seen them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

Value = TypeVar("Value")

# Behind ``folder:`` or ``local-dir:``, and the KEY= of a table's entry; ``~`` alone, ``~/x`` or ``~ada/x``.
_HOME = re.compile(r"((?:[\w.-]+[:=])*)(~|~[^/\\:=]*(?=[/\\]).*)", re.DOTALL)


def path_of(*parts: Path | str | None) -> Path:
    """Return the path of a file or folder from its parts, of which a later absolute one wins, as in :class:`Path`.

    Example:
        >>> path_of(None, "images").as_posix(), path_of("~", "images") == Path.home() / "images"
        ('images', True)
    """
    return Path(*(os.path.expanduser(part) for part in parts if part is not None))  # noqa: PTH111  # a name may be ~x


def expanded(value: Value) -> Value:
    """Return a value that may name paths with the home folder in the place of ``~``, in lists and tables too.

    Other texts stay what they are, as does a user of whom nothing is known.

    Example:
        >>> expanded("folder:~/images") == f"folder:{Path.home()}/images", expanded(["resnet~", "~x", 3])
        (True, ['resnet~', '~x', 3])
    """
    found: Any = value
    if isinstance(value, str) and (written := _HOME.fullmatch(value)):
        found = written[1] + os.path.expanduser(written[2])  # noqa: PTH111
    elif isinstance(value, Path):
        found = path_of(value)
    elif isinstance(value, (list, tuple)):
        found = type(value)(map(expanded, value))
    elif isinstance(value, Mapping):
        found = {key: expanded(one) for key, one in value.items()}
    return cast(Value, found)
