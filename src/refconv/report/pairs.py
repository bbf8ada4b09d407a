"""Reading what an analysis left in a folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from refconv.errors import RunError
from refconv.measures.pairs import RECORDS, Pair, measure_of, read_record

FACTS = "pair.json"
"""The file of an analysis that says what was analysed."""


def read_pair(folder: Path | str, name: str | None = None) -> Pair:
    """Read what an analysis left in a folder.

    Args:
        folder: holds ``pair.json`` and a JSON file per record.
        name: what the pair is called; by default the method of the second model's run, else the folder's name.

    Raises:
        RunError: if there is no analysis in the folder, or a file is damaged.
    """
    place = Path(folder)
    if not (place / FACTS).is_file():
        raise RunError(
            "no analysis", where=str(place), expected=f"a file {FACTS}", remedy="refconv analyze --out FOLDER makes one"
        )
    facts = _read(place / FACTS)
    files = [path for path in sorted(place.glob("*.json")) if measure_of(path.stem) in RECORDS]
    records = {path.stem: read_record(path.stem, _read(path), str(path)) for path in files}
    return Pair(name or facts["after"].get("method") or place.name, facts, records)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError("cannot read a record", where=str(path), found=str(error)) from error
