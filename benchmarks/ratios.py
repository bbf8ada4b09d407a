"""What is derived from recorded times and bytes: ratios of paired steps, extra time, ratios of state."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from four_methods import KERNEL, PLAIN, RELEASED
from pages import table

Row = dict[str, Any]

DEPTHWISE = ("mobilenetv2_100", "mobilenetv3_large_100", "efficientnet_b0", "convnext_tiny")
"""The benchmarked models most of whose refocus weights are at depthwise layers. Those of inception_next_tiny, whose
depthwise branches are narrow, are mostly at its dense 2 x 2 kernels."""


def ratio(row: Row, method: str, to: str = PLAIN) -> tuple[float, float, float]:
    """Return the lower quartile, median and upper quartile of a method's paired time ratios.

    Args:
        row: a line of ``step_time.jsonl``.
        method: whose time is divided.
        to: whose time it is divided by.
    """
    paired = [a / b for a, b in zip(row["seconds"][method], row["seconds"][to], strict=True)]
    low, middle, high = statistics.quantiles(paired, n=4, method="inclusive")
    return low, middle, high


def extra(row: Row, method: str) -> float:
    """Return the seconds that a method's step takes beyond a plain one: the median of paired differences."""
    seconds = row["seconds"]
    return float(statistics.median(a - b for a, b in zip(seconds[method], seconds[PLAIN], strict=True)))


def less_extra(row: Row) -> float:
    """Return how many times less extra time kernel space needs than refocusing as released."""
    return extra(row, RELEASED) / extra(row, KERNEL)


def state_bytes(row: Row, method: str) -> int:
    """Return the bytes of a method's optimizer state in memory from a line of ``memory.jsonl``."""
    held = row["bytes"][method].items()
    return sum(count for name, count in held if name.startswith("state: ") and name != "state: on disk")


def state_ratio(row: Row, method: str) -> float:
    """Return the bytes of a method's optimizer state over those of plain training."""
    return state_bytes(row, method) / state_bytes(row, PLAIN)


def _ways(row: Row) -> Row:
    """Return the setting of a row but for the size of its images, which one model has of its own."""
    return {name: value for name, value in row["setting"].items() if name != "img_size"}


def freed(rows: Sequence[Row]) -> str:
    """Return the table of extra times, kernel space against as released, under every setting."""
    rows = [row for row in rows if {RELEASED, KERNEL} <= row["seconds"].keys()]
    models = list(dict.fromkeys(row["model"] for row in rows))
    settings: list[Row] = []
    for row in rows:
        if _ways(row) not in settings:
            settings.append(_ways(row))
    lines = []
    for model in models:
        found = {index: row for row in rows if row["model"] == model for index in [settings.index(_ways(row))]}
        cells = [f"{less_extra(found[i]):.2f}" if i in found else "" for i in range(len(settings))]
        lines.append((model, *cells))
    names = [
        f"batch {s['batch_size']}" + (", fused SGD" if s["fused"] else "") + (", huge pages" if s["huge_pages"] else "")
        for s in settings
    ]
    return table(("extra time as released / in kernel space", *names), lines)
