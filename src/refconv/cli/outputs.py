"""What commands leave behind: exit statuses, tables, and files at places that are checked before the work."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from refconv.errors import RunError

# A traceback, which is a bug, has the exit status 1, an interruption 130.
MISTAKE = 2  # the user asked for something impossible; one line on stderr says what
FAILED = 3  # the command did its work, and the certificate it was asked for does not hold


def check_file(path: Path) -> None:
    """Make sure that a file can be written at ``path``; its folder need not exist."""
    if path.is_dir():
        raise RunError("cannot be written: a folder is there", where=str(path), remedy="name a file in it")
    check_folder(path.parent)


def check_folder(path: Path) -> None:
    """Make sure that files can be written into ``path``, which need not exist."""
    there = next(place for place in (path.absolute(), *path.absolute().parents) if os.path.lexists(place))
    remedy = "give another place"
    if not there.is_dir():
        raise RunError("cannot be a folder", where=str(path), found=f"a file {there}", remedy=remedy)
    if not os.access(there, os.W_OK | os.X_OK):
        found = f"no right to write in {there}"
        raise RunError("cannot be written to", where=str(path), found=found, remedy=remedy)


def draw_table(rows: Sequence[Sequence[str]], caption: str | None = None, *, right: bool = False) -> None:
    """Draw a table, its titles first, in a terminal; if asked, with numbers at the right of their columns."""
    from rich.console import Console
    from rich.table import Table

    table = Table(caption=caption)
    for place, title in enumerate(rows[0]):
        table.add_column(title, justify="right" if right and place else "left")
    for row in rows[1:]:
        table.add_row(*row)
    Console().print(table)
