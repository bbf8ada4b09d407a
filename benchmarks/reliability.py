"""What holds when files are damaged, code is strange, runs are stopped and machines fail: docs/reliability.md.

    make test-faults FIGURES=1
    python benchmarks/reliability.py

The tests of faults add a line each to ``benchmarks/reliability.jsonl``: the promise, the test, how many cases it tried,
and how many came out right. The page shows them; of lines about the same test the last one counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pages import ROOT, replace_part, table

RECORD = Path(__file__).with_suffix(".jsonl")
PAGE = ROOT / "docs" / "reliability.md"
COUNTS = ("tried", "right")


def lines(path: Path = RECORD) -> list[dict[str, Any]]:
    """Return what was found, one entry a promise and test, in the order of their names."""
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    rows = [json.loads(line) for line in text.splitlines()]
    last = {(row["promise"], row["test"]): row for row in rows}
    return sorted(last.values(), key=lambda row: (row["promise"], row["test"]))


def _further(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in {"promise", "test", *COUNTS}}


def figures(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a table of the promises, and one of every test."""
    if not rows:
        return "Open: nothing has been measured yet."
    totals: dict[str, list[int]] = {}
    for row in rows:
        total = totals.setdefault(row["promise"], [0, 0])
        for place, name in enumerate(COUNTS):
            total[place] += row[name]
    cases = [
        (row["promise"], _named(row), f"{row['tried']:,}", f"{row['right']:,}") for row in rows
    ]  # fmt: skip
    summary = [(promise, f"{tried:,}", f"{right:,}") for promise, (tried, right) in totals.items()]
    return "\n\n".join((
        table(["promise", "cases", "right"], summary),
        table(["promise", "test", "cases", "right"], cases),
    ))  # fmt: skip


def _named(row: Mapping[str, Any]) -> str:
    """Return a test in code, without the folder of all tests, and what else its line says."""
    more = ", ".join(f"{name} {value}" for name, value in _further(row).items() if f"[{value}]" not in row["test"])
    return f"`{row['test'].removeprefix('tests/')}`" + (f" ({more})" if more else "")


def main() -> None:
    """Fill the page, and keep one line a test in the record."""
    rows = lines()
    RECORD.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    replace_part(PAGE, "figures", figures(rows))


if __name__ == "__main__":
    main()
