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
from four_methods import GRADIENT, KERNEL, METHODS, ON_DISK, PLAIN, RELEASED, WAYS
from goals import goals
from lines import Lines, shared
from pages import ROOT, replace_part, table
from ratios import extra, freed, ratio, state_ratio

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"

Row = dict[str, Any]


def described(setting: Row) -> str:
    """Say a setting in words."""
    words = [setting["device"], f"batch {setting['batch_size']}"]
    words += [setting["amp"]] if setting["amp"] != "none" else []
    flags = {"channels_last": "channels last", "compile": "compiled", "fused": "fused SGD", "huge_pages": "huge pages"}
    return ", ".join([*words, *(text for flag, text in flags.items() if setting[flag])])


def ranked(setting: Row) -> tuple[bool, int, str]:
    """Return by what settings are sorted: tuned ones last, then by batch."""
    return setting["fused"], setting["batch_size"], described(setting)


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
    others = [method for method in METHODS if method != PLAIN]
    for name in settings:
        chosen = [row for row in rows if described(row["setting"]) == name]
        lines = []
        for row in chosen:
            timed = [method if method in row["seconds"] else None for method in others]
            ratios = [method and ratio(row, method) for method in timed]
            cells = [f"{r[1]:.3f} ({r[0]:.3f} to {r[2]:.3f})" if r else "" for r in ratios]
            costs = [f"{1e3 * extra(row, method):+.1f}" if method else "" for method in timed]
            plain = f"{1e3 * statistics.median(row['seconds'][PLAIN]):.1f}"
            lines.append((sized(row), plain, *cells, " / ".join(filter(None, costs)), floor(row)))
        header = ("model", "plain, ms", *others, "extra, ms: " + " / ".join(others), "a pass over g, B, kernel, ms")
        repetitions = " or ".join(sorted({str(len(row["seconds"][PLAIN])) for row in chosen}, key=int))
        parts.append(f"**{name}**, {repetitions} repetitions\n\n{table(header, lines)}\n\n{under(chosen)}")
    return "\n\n".join(parts)


def sized(row: Row) -> str:
    """Return the name of a model, with the size of its images where that is not the usual one."""
    size = row["setting"]["img_size"]
    return str(row["model"]) if size == step_time.IMG_SIZE else f"{row['model']}, {size} px"


def floor(row: Row) -> str:
    """Return the time that one pass over g, B and kernel takes at the bandwidth of memory: what g G alone must cost."""
    return f"{3e3 * row['refocused'] / row['bandwidth']:.1f}" if "bandwidth" in row else ""


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
    others = [method for method in WAYS if method != PLAIN]
    lines = []
    for row in rows:
        peaks = {method: row["bytes"][method]["peak"] / row["bytes"][PLAIN]["peak"] for method in others}
        found = row["bytes"][GRADIENT]
        lines.append(
            (
                row["model"],
                f"{row['bytes'][PLAIN]['peak'] / 2**20:.0f}",
                *(f"{peaks[method]:.2f}" for method in others),
                f"{row['bytes'][PLAIN]['state: momentum_buffer'] / 2**20:.1f}",
                *(f"{state_ratio(row, method):.3f}" for method in others),
                f"{found['state: base'] / 2**20:.1f}",
                f"{row['bytes'][ON_DISK].get('state: on disk', 0) / 2**20:.1f}",
                f"{found['beside the state'] / 2**20:.2f}",
            )
        )
    header = (
        "model",
        "peak of plain, MiB",
        *(f"peak, {method}" for method in others),
        "state of plain, MiB",
        *(f"state in memory, {method}" for method in others),
        "bases, MiB",
        "of them on disk, MiB",
        "Grams and scales beside the state, MiB",
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
    times.rows.sort(key=lambda row: (*ranked(row["setting"]), order.get(row["model"], len(order))))
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
