"""Records of one JSON object a line, added to as a benchmark goes on, so that an interrupted one is resumed."""

from __future__ import annotations

import json
import os
import platform
import time
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


class Beside:
    """The work of other processes while something is measured, in cores, from the counts that Linux keeps.

    Load averages look back for minutes and count the benchmark itself, so they are no measure of a short time.
    """

    MOST = 0.3  # cores

    def __init__(self) -> None:
        self.start = self._counts()

    @staticmethod
    def _counts() -> tuple[float, float] | None:
        """Return the seconds of all cores that were busy, and the moment; None where nothing counts them."""
        try:
            numbers = [int(one) for one in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        except OSError:
            return None
        idle = numbers[3] + numbers[4]  # waiting for the disk is no work
        own = os.times()
        used = (sum(numbers[:8]) - idle) / os.sysconf("SC_CLK_TCK")
        return used - own.user - own.system - own.children_user - own.children_system, time.monotonic()

    def cores(self) -> float | None:
        """Return how many cores others have kept busy since this was made."""
        now = self._counts()
        if self.start is None or now is None:
            return None
        return round(max(0.0, (now[0] - self.start[0]) / max(now[1] - self.start[1], 1e-9)), 2)


def check_quiet(cores: float | None) -> None:
    """End the program where other work beside a measurement was more than it bears."""
    if cores is not None and cores > Beside.MOST:
        text = (
            f"not recorded: other processes kept {cores} cores busy, and {Beside.MOST} is the most; wait or stop them"
        )
        raise SystemExit(text)


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
    """Return whether other work ran beside a measurement: in records of before it was counted, by the load."""
    beside = found.get("beside")
    return bool(found["load"] > found["threads"] + 0.5 if beside is None else beside > Beside.MOST)
