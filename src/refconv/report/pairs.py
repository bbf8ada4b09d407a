"""What a report is made of: pairs of models with one start, each with the records of its analysis."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from refconv.errors import RunError

FACTS = "pair.json"
"""The file of an analysis that says what was analysed."""


@dataclass(frozen=True)
class Pair:
    """Two models, before and after, and what was measured of them.

    Attributes:
        name: what the reader calls it, such as ``refocus``.
        facts: what ``pair.json`` says: the two models, their task, the data, versions.
        records: the records of measures as JSON gave them, by the names of their files: ``redundancy`` for both models
            together, ``calibration-before`` and ``calibration-after`` where each has its own.
    """

    name: str
    facts: Mapping[str, Any]
    records: Mapping[str, Any] = field(default_factory=dict)

    def record(self, name: str) -> Any:
        """Return a record of both models by name; None if it was not taken."""
        return self.records.get(name)

    def sides(self, name: str) -> tuple[Any, Any] | None:
        """Return the records of the two models, the earlier first; None if they were not taken."""
        before, after = self.records.get(f"{name}-before"), self.records.get(f"{name}-after")
        return None if before is None or after is None else (before, after)


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
    records = {path.stem: _read(path) for path in sorted(place.glob("*.json")) if path.name != FACTS}
    return Pair(name or facts["after"].get("method") or place.name, facts, records)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError("cannot read a record", where=str(path), found=str(error)) from error


def holding(pairs: Sequence[Pair], name: str) -> list[Pair]:
    """Return the pairs that have a record of this name, of both models or of each."""
    return [pair for pair in pairs if pair.record(name) is not None or pair.sides(name) is not None]
