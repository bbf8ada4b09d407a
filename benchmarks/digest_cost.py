"""What does it cost that files prove themselves? The digest of a network beside writing and reading its files.

    OMP_NUM_THREADS=1 python benchmarks/digest_cost.py

ResNet-50 with random weights and the momentum of each, as a checkpoint holds them. Digest, writing and reading take
turns, nine times; the medians count. Writes ``benchmarks/digest_cost.json`` and the line in docs/reliability.md.
"""

from __future__ import annotations

import io
import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import timm
import torch

from clock import WARM_UP, on_device
from lines import conditions
from pages import ROOT, replace_part
from refconv.digests import digest_of
from refconv.records import replace_file

RECORD = Path(__file__).with_suffix(".json")
PAGE = ROOT / "docs" / "reliability.md"
NETWORK = "resnet50"
REPETITIONS = 9


def measured() -> dict[str, Any]:
    """Return the bytes of what is stored and the median seconds of each operation."""
    state = timm.create_model(NETWORK).state_dict()
    content = {"model": state, "momentum": {name: torch.zeros_like(value) for name, value in state.items()}}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "checkpoint.pt"

        def write() -> None:
            buffer = io.BytesIO()
            torch.save(content, buffer)
            replace_file(file, buffer.getvalue())

        work = {
            "digest": lambda: digest_of(content),
            "write": write,
            "read": lambda: torch.load(file, weights_only=True),
        }
        times: dict[str, list[float]] = {name: [] for name in work}
        write()
        for _ in range(WARM_UP + REPETITIONS):
            for name, one in work.items():
                times[name].append(on_device(one, torch.device("cpu"))[0])
        size = file.stat().st_size
    seconds = {name: statistics.median(taken[WARM_UP:]) for name, taken in times.items()}
    return {"network": NETWORK, "bytes": size, "seconds": seconds}


def shown(record: dict[str, Any]) -> str:
    """Return what a record says in a sentence."""
    seconds, size, found = record["seconds"], record["bytes"], record["conditions"]
    rate = 1e-6 * size / seconds["digest"]
    return (
        f"The digest of a checkpoint of {record['network']} with momentum, {1e-6 * size:.0f} MB, takes "
        f"{seconds['digest']:.2f} s ({rate:.0f} MB/s), beside {seconds['write']:.2f} s to write the file and "
        f"{seconds['read']:.2f} s to read it, on one thread of {found['machine']}."
    )


def main() -> None:
    """Measure, record, and write the page."""
    record = {**measured(), "conditions": conditions(torch.device("cpu"))}
    RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    replace_part(PAGE, "digest", shown(record))


if __name__ == "__main__":
    main()
