"""The page docs/performance.md and its plots, from the records of the benchmarks beside this file.

    python benchmarks/performance.py

Reads ``step_time.jsonl``, ``gpu.jsonl``, ``transform.jsonl``, ``memory.jsonl`` and ``communication.jsonl``; measures
nothing.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import communication
import gpu
import memory
import step_time
import transform
from figures import plot_growth, plot_steps
from four_methods import GRADIENT, KERNEL, METHODS, PLAIN, RELEASED
from goals import goals
from lines import Lines, shared
from pages import ROOT, replace_part, table
from ratios import extra, freed, ratio, state_ratio

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"

Row = dict[str, Any]


def described(setting: Row) -> str:
    """Say a setting in words."""
    words = [setting["device"], f"batch {setting['batch_size']}", f"{setting['img_size']} px"]
    words += [setting["amp"]] if setting["amp"] != "none" else []
    flags = {"channels_last": "channels last", "compile": "compiled", "fused": "fused SGD", "huge_pages": "huge pages"}
    return ", ".join([*words, *(text for flag, text in flags.items() if setting[flag])])


def under(rows: Sequence[Row]) -> str:
    """Say under which conditions rows were measured."""
    found = [row["conditions"] for row in rows]
    versions = " or ".join(sorted({", ".join(f"{k} {v}" for k, v in one["versions"].items()) for one in found}))
    machines = " or ".join(sorted({f"{one['machine']}, {one['threads']} thread(s)" for one in found}))
    loads = [one["load"] for one in found]
    beside = sum(map(shared, found))
    sharing = f"; other work ran beside {beside} of {len(found)} (load {min(loads)} to {max(loads)})" if beside else ""
    return f"{machines}; {versions}{sharing}."


def steps(rows: Sequence[Row]) -> str:
    """Return the tables of step times, one a setting."""
    parts = []
    settings = {described(row["setting"]): row["setting"] for row in rows}
    for name, setting in settings.items():
        chosen = [row for row in rows if row["setting"] == setting]
        lines = []
        for row in chosen:
            plain = statistics.median(row["seconds"][PLAIN])
            cells = [f"{middle:.3f} ({low:.3f} to {high:.3f})" for low, middle, high in ratios_of(row)]
            costs = [f"{1e3 * extra(row, method):+.0f}" for method in list(METHODS)[1:]]
            lines.append((row["model"], f"{plain:.2f}", *cells, " / ".join(costs)))
        header = ("model", "plain, s", *list(METHODS)[1:], "extra, ms: " + " / ".join(list(METHODS)[1:]))
        repetitions = len(chosen[0]["seconds"][PLAIN])
        parts.append(f"**{name}**, {repetitions} repetitions\n\n{table(header, lines)}\n\n{under(chosen)}")
    return "\n\n".join(parts)


def ratios_of(row: Row) -> list[tuple[float, float, float]]:
    """Return the ratios to plain of the other methods."""
    return [ratio(row, method) for method in METHODS if method != PLAIN]


def transforms(rows: Sequence[Row]) -> str:
    """Return the table of single layers."""
    lines = []
    for row in rows:
        channels, groups, side = row["site"]
        kind = "dense" if groups == 1 else "depthwise" if groups == channels else f"{groups} groups"
        times = [f"{1e3 * row['seconds'][method]:.3f}" for method in (RELEASED, KERNEL, GRADIENT)]
        faster = [f"{1 / row['over_released'][method]:,.1f}" for method in (KERNEL, GRADIENT)]
        lines.append((f"{channels:,}", kind, f"{side} x {side}", *times, *faster))
    header = ("channels", "layer", "kernel", *(f"{m}, ms" for m in (RELEASED, KERNEL, GRADIENT)))
    return f"{table((*header, 'released / kernel', 'released / gradient'), lines)}\n\n{under(rows)}"


def growths(rows: Sequence[Row]) -> str:
    """Return the table of fitted exponents."""
    lines = []
    for side in transform.KERNELS:
        cells = [
            f"{transform.exponents(rows, side, method):.2f} ({transform.exponents(rows, side, method, 256):.2f})"
            for method in (RELEASED, KERNEL, GRADIENT)
        ]
        lines.append((f"{side} x {side}", *cells))
    return table(("kernel", RELEASED, KERNEL, GRADIENT), lines)


def memories(rows: Sequence[Row]) -> str:
    """Return the table of bytes per model and method."""
    lines = []
    for row in rows:
        peaks = {method: row["bytes"][method]["peak"] / row["bytes"][PLAIN]["peak"] for method in METHODS}
        found = row["bytes"][GRADIENT]
        lines.append(
            (
                row["model"],
                f"{row['bytes'][PLAIN]['peak'] / 2**20:.0f}",
                *(f"{peaks[method]:.2f}" for method in list(METHODS)[1:]),
                f"{row['bytes'][PLAIN]['state: momentum_buffer'] / 2**20:.1f}",
                *(f"{state_ratio(row, method):.3f}" for method in list(METHODS)[1:]),
                f"{found['state: base'] / 2**20:.1f}",
                f"{found['beside the state'] / 2**20:.2f}",
            )
        )
    header = (
        "model",
        "peak of plain, MiB",
        *(f"peak, {method}" for method in list(METHODS)[1:]),
        "state of plain, MiB",
        *(f"state, {method}" for method in list(METHODS)[1:]),
        "of it bases, gradient space, MiB",
        "Grams and scales beside it, MiB",
    )
    setting = rows[0]["setting"]
    where = f"{setting['device']}, batch {setting['batch_size']}, {setting['img_size']} px. {under(rows)}"
    return f"{table(header, lines)}\n\n{where}"


def communications(rows: Sequence[Row]) -> str:
    """Return the table of bytes all-reduced per step."""
    lines = []
    for row in rows:
        counted = row["bytes"]
        lines.append(
            (
                row["model"],
                *(f"{1e-6 * counted[method]:.1f}" for method in METHODS),
                *(f"{counted[method] / counted[PLAIN]:.2f}" for method in list(METHODS)[1:]),
            )
        )
    return table(
        ("model", *(f"{method}, MB" for method in METHODS), *(f"{method}, ratio" for method in list(METHODS)[1:])),
        lines,
    )


def parts(times: Lines, layers: Lines, bytes_held: Lines, bytes_sent: Lines) -> dict[str, str]:
    """Return all generated parts of the page by name."""
    on_gpu = Lines(gpu.RECORD, "model", "setting").rows
    return {
        "goals": goals([*times.rows, *on_gpu], layers.rows, bytes_held.rows, bytes_sent.rows),
        "steps": steps(times.rows),
        "gpu": gpu.shown(on_gpu),
        "freed": freed(times.rows),
        "transform": transforms(layers.rows),
        "growth": growths(layers.rows),
        "memory": memories(bytes_held.rows),
        "communication": communications(bytes_sent.rows),
    }


def records() -> tuple[Lines, Lines, Lines, Lines]:
    """Read the records of step times, layers, memory and communication."""
    times = Lines(step_time.RECORD, "model", "setting")
    order = {model: place for place, model in enumerate(step_time.MODELS)}
    times.rows.sort(key=lambda row: (described(row["setting"]), order.get(row["model"], len(order))))
    return (
        times,
        Lines(transform.RECORD, "site", "device"),
        Lines(memory.RECORD, "model", "setting"),
        Lines(communication.RECORD, "model"),
    )


def main(page: Path = PAGE, plots: Path = PLOTS) -> None:
    """Fill the page and draw its plots."""
    found = records()
    for name, text in parts(*found).items():
        replace_part(page, name, text)
    plots.mkdir(exist_ok=True)
    plot_steps(found[0].rows, plots / "steps.svg")
    plot_growth(found[1].rows, plots / "growth.svg")


if __name__ == "__main__":
    main()
