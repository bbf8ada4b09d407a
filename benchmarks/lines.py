"""Records of one JSON object a line, added to as a benchmark goes on, so that an interrupted one is resumed."""

from __future__ import annotations

import json
import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch


class Lines:
    """The lines of a record file, each known by what was measured under which setting.

    Args:
        path: the file; made when the first line is added.
        keys: which entries of a line say what was measured.
    """

    def __init__(self, path: Path, *keys: str) -> None:
        self.path, self.keys = path, keys
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]

    def has(self, **what: Any) -> bool:
        """Return whether something was measured already."""
        return any(all(row[key] == what[key] for key in self.keys) for row in self.rows)

    def put(self, row: dict[str, Any]) -> None:
        """Add a line, in place of the one that measured the same before."""
        self.rows = [other for other in self.rows if any(other[key] != row[key] for key in self.keys)] + [row]
        lines = (json.dumps(row, separators=(",", ":")) + "\n" for row in self.rows)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text("".join(lines), encoding="utf-8")
        temporary.replace(self.path)


def conditions(device: torch.device) -> dict[str, Any]:
    """Return what a figure depends on beside the setting: versions, machine, threads, and the load beside it."""
    on_gpu = device.type == "cuda"
    return {
        "versions": {name: version(name).partition("+")[0] for name in ("torch", "timm")},
        "machine": torch.cuda.get_device_name(device) if on_gpu else f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
    }


def shared(found: dict[str, Any]) -> bool:
    """Return whether other work ran beside a measurement: a load well above the benchmark's own threads."""
    return bool(found["load"] > found["threads"] + 0.5)
