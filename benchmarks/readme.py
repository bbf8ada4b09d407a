"""Put the table of the last demo into the README.

    refconv demo && python benchmarks/readme.py [--run runs/demo]

Copies the record of the improvement to ``benchmarks/demo.json`` and renders the table with the command's own code.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from pages import ROOT, replace_part
from refconv.improvement import ImproveRecord
from refconv.improvement.verdict import markdown

RECORD = Path(__file__).with_name("demo.json")


def _without_losses(value: Any) -> Any:
    """Return a record without the losses of single samples, which the page does not show."""
    if isinstance(value, list):
        return [_without_losses(one) for one in value]
    if isinstance(value, dict):
        return {name: [] if name == "losses" else _without_losses(one) for name, one in value.items()}
    return value


def main() -> None:
    """Take over the record and fill the README's part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "demo")
    record = json.loads((parser.parse_args().run / "improve" / "improve.json").read_text(encoding="utf-8"))
    RECORD.write_text(json.dumps(_without_losses(record)) + "\n", encoding="utf-8")
    replace_part(ROOT / "README.md", "demo", markdown(ImproveRecord.read(RECORD)))


if __name__ == "__main__":
    main()
