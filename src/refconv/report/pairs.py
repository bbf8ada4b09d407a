"""Pairs of models on one page: read from the folders of their analyses, numbered, and checked to belong together."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from refconv.errors import RunError
from refconv.measures.facts import FACTS_FILE, PairFacts
from refconv.measures.pairs import RECORDS, ModelPair, measure_of, read_json, read_record

MOST = 6  # pairs that have a colour of their own


def read_pair(folder: Path | str, name: str | None = None) -> ModelPair:
    """Read what an analysis left in a folder: ``pair.json`` and a JSON file per record.

    Args:
        folder: the folder.
        name: what the pair is called; by default the method of the second model's run, else the folder's name.

    Raises:
        RunError: if there is no analysis in the folder, or a file is damaged.
    """
    place = Path(folder)
    file = place / FACTS_FILE
    if not file.is_file():
        remedy = "refconv analyze --out FOLDER makes one"
        raise RunError("no analysis", where=str(place), expected=f"a file {FACTS_FILE}", remedy=remedy)
    facts: PairFacts = read_json(PairFacts, _read(file), str(file))
    files = [path for path in sorted(place.glob("*.json")) if measure_of(path.stem) in RECORDS]
    records = {path.stem: read_record(path.stem, _read(path), str(path)) for path in files}
    return ModelPair(name or facts.after.method or place.name, facts, records)


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunError("cannot read a record", where=str(path), found=str(error)) from error


def numbered(pairs: Sequence[ModelPair]) -> list[ModelPair]:
    """Return pairs with names of their own: of several with one name, the second and later ones get a number."""
    found: dict[str, ModelPair] = {}
    for pair in pairs:
        name, number = pair.name, 1
        while name in found:
            number += 1
            name = f"{pair.name} {number}"
        found[name] = replace(pair, name=name)
    return list(found.values())


def check(pairs: Sequence[ModelPair]) -> None:
    """Make sure that pairs can stand on one page: not none or too many, of one architecture, task and start."""
    if not 1 <= len(pairs) <= MOST:
        raise RunError("cannot report on these pairs", where="report", expected=f"1 to {MOST}", found=f"{len(pairs)}")
    first = pairs[0]
    for pair in pairs[1:]:
        for what, one, other in (
            ("architecture", first.facts.model, pair.facts.model),
            ("task", first.facts.task, pair.facts.task),
            ("start", first.facts.before.fingerprint, pair.facts.before.fingerprint),
        ):
            if one != other:
                expected, found = (_start(first), _start(pair)) if what == "start" else (one, other)
                remedy = "pairs on one page share their first model; write one report each"
                raise RunError(
                    f"another {what} than {first.name}", where=pair.name, expected=expected, found=found, remedy=remedy
                )


def _start(pair: ModelPair) -> str:
    before = pair.facts.before
    return f"{before.reference} (weights {before.fingerprint[:12]})"
