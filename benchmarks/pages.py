"""Generated parts of hand-written pages.

A page marks a part as ``<!-- generated: NAME by COMMAND -->`` ... ``<!-- end: NAME -->``; what stands between is
replaced whenever the command runs, so no figure in a page is typed by hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def replace_part(page: Path, name: str, text: str) -> None:
    """Replace the part called ``name`` of a page.

    Args:
        page: the Markdown file.
        name: the part's name in its markers.
        text: what to put between them.
    """
    begin, end = rf"<!-- generated: {re.escape(name)}\b[^>]*-->\n", rf"<!-- end: {re.escape(name)} -->"
    content = page.read_text(encoding="utf-8")
    found = re.findall(rf"{begin}.*?{end}", content, flags=re.DOTALL)
    if len(found) != 1:
        raise SystemExit(f"{page.name}: expected one part named {name!r}, found {len(found)}")
    head = re.match(begin, found[0])
    assert head is not None
    page.write_text(content.replace(found[0], f"{head.group()}{text.strip()}\n<!-- end: {name} -->"), encoding="utf-8")


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)
