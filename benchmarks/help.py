"""How long does help take, beside Python's own start and the command-line library's?

    python benchmarks/help.py [--repetitions 20]

Starts the interpreters in turn and writes ``benchmarks/help.json`` and the table in docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from pages import ROOT, replace_part, table

RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "performance.md"
BARE = "python"
STARTS = {
    BARE: ["-c", "pass"],
    "typer, rich": ["-c", "import typer, typer.main, typer.rich_utils"],
    "refconv --help": ["-m", "refconv", "--help"],
    "refconv train --help": ["-m", "refconv", "train", "--help"],
    "import refconv": ["-c", "import refconv"],
    "torch": ["-c", "import torch"],
}


def seconds(arguments: list[str]) -> float:
    """Time one start in seconds."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - begin


def measured(repetitions: int) -> dict[str, Any]:
    """Time all starts in turn, after one round that fills the caches."""
    for arguments in STARTS.values():
        seconds(arguments)
    rounds = [{name: seconds(arguments) for name, arguments in STARTS.items()} for _ in range(repetitions)]
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "seconds": {name: [round(found[name], 4) for found in rounds] for name in STARTS},
    }


def shown(record: dict[str, Any]) -> str:
    """Return the table of a record."""
    lines = []
    base = record["seconds"][BARE]
    for name, times in record["seconds"].items():
        ratios = [a / b for a, b in zip(times, base, strict=True)]
        lines.append((name, f"{min(times):.2f}", f"{statistics.median(times):.2f}", f"{statistics.median(ratios):.1f}"))
    where = f"{len(base)} starts each, in turn; {record['machine']}, Python {record['python']}."
    return f"{table(('start', 'least, s', 'median, s', 'ratio to bare Python'), lines)}\n\n{where}"


def main() -> None:
    """Measure, keep the record and fill the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=20)
    record = measured(parser.parse_args().repetitions)
    RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")
    replace_part(PAGE, "help", shown(record))


if __name__ == "__main__":
    main()
