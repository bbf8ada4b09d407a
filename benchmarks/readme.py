"""Put the table of the last demo into the README.

    refconv demo && python benchmarks/readme.py [--run runs/demo]

Copies the record of the improvement to ``benchmarks/demo.json`` and renders the table with the command's own code.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from pages import ROOT, replace_part
from refconv.improvement import ImproveRecord
from refconv.improvement.verdict import markdown

RECORD = Path(__file__).with_name("demo.json")


def main() -> None:
    """Take over the record and fill the README's part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, default=ROOT / "runs" / "demo")
    shutil.copyfile(parser.parse_args().run / "improve" / "improve.json", RECORD)
    replace_part(ROOT / "README.md", "demo", markdown(ImproveRecord.read(RECORD)))


if __name__ == "__main__":
    main()
