"""The goals that were set for speed and size, each with what was measured: met, or missed and by how much."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import gpu
import transform
from four_methods import GRADIENT, KERNEL, ON_DISK, PLAIN, RELEASED
from pages import table
from ratios import DEPTHWISE, less_extra, ratio, state_ratio

Row = dict[str, Any]

TIME_ON_GPU, PEAK, SAME, GROWTH, LESS = 1.02, 1.03, 1.00, 1.2, 2.0
TIME_ON_CPU = {16: 1.03, 4: 1.06}  # by batch size


def judged(goal: str, values: dict[str, float], bound: float, *, at_least: bool = False, digits: int = 2) -> list[str]:
    """Return a row: the goal, the range of what was measured, and which miss it by how much.

    Args:
        goal: in words.
        values: what was measured, by name.
        bound: the goal in numbers.
        at_least: whether values are to reach the bound, instead of staying under it.
        digits: shown and compared; a value that is shown as the bound meets it.
    """
    if not values:
        return [goal, "not measured", "open"]
    rounded = {name: round(value, digits) for name, value in values.items()}
    misses = {name: value for name, value in rounded.items() if (value < bound if at_least else value > bound)}
    low, high = min(rounded.values()), max(rounded.values())
    measured = f"{low:.{digits}f} to {high:.{digits}f}" if low != high else f"{low:.{digits}f}"
    if not misses:
        return [goal, measured, "met"]
    named = ", ".join(f"{name} {value:.{digits}f}" for name, value in misses.items())
    return [goal, measured, f"missed by {len(misses)} of {len(values)}: {named}"]


def by_model(rows: Sequence[Row], value: Callable[[Row], float]) -> dict[str, float]:
    """Return a value per model."""
    return {row["model"]: value(row) for row in rows}


def default_steps(rows: Sequence[Row], batch_size: int) -> list[Row]:
    """Return the step times that goals on a CPU are judged by: torch's defaults, at one batch size."""
    wanted = {"device": "cpu", "fused": False, "amp": "none", "channels_last": False, "batch_size": batch_size}
    return [row for row in rows if wanted.items() <= row["setting"].items()]


def goals(times: Sequence[Row], layers: Sequence[Row], held: Sequence[Row], sent: Sequence[Row]) -> str:
    """Return the table of goals.

    Args:
        times: lines of ``step_time.jsonl`` and ``gpu.jsonl``.
        layers: lines of ``transform.jsonl``.
        held: lines of ``memory.jsonl``.
        sent: lines of ``communication.jsonl``.
    """
    on_cpu = default_steps(times, 16)
    tuned = [row for row in times if row["setting"]["device"] == "cpu" and row["setting"]["fused"]]
    on_gpu = {
        f"{row['model']} ({gpu.ways(row['setting'])})": ratio(row, GRADIENT)[1]
        for row in times
        if row["setting"]["device"] != "cpu" and row["setting"]["batch_size"] == 128 and "seconds" in row
    }
    depthwise = [row for row in on_cpu if row["model"] in DEPTHWISE]
    growths = {f"{side} x {side}": transform.exponents(layers, side, GRADIENT) for side in transform.KERNELS}
    late = {f"{side} x {side}": transform.exponents(layers, side, GRADIENT, 256) for side in transform.KERNELS}
    rows = [
        *(
            judged(
                f"gradient space, time of a step on a CPU, batch {size}: at most {bound:.2f} of plain",
                by_model(default_steps(times, size), lambda row: ratio(row, GRADIENT)[1]),
                bound,
            )
            for size, bound in TIME_ON_CPU.items()
        ),
        judged(
            f"gradient space, time of a step on a GPU, batch 128: at most {TIME_ON_GPU} of plain", on_gpu, TIME_ON_GPU
        ),
        judged(
            f"gradient space, peak memory of a step, bases on disk: at most {PEAK} of plain",
            by_model(held, lambda row: row["bytes"][ON_DISK]["peak"] / row["bytes"][PLAIN]["peak"]),
            PEAK,
        ),
        judged(
            "gradient space, bytes all-reduced: those of plain",
            by_model(sent, lambda row: row["bytes"][GRADIENT] / row["bytes"][PLAIN]),
            SAME,
        ),
        judged(
            "gradient space, optimizer state in memory, bases on disk: that of plain",
            by_model(held, lambda row: state_ratio(row, ON_DISK)),
            SAME,
        ),
        judged(
            "kernel space, time of a step: at most that of as released",
            by_model(on_cpu, lambda row: ratio(row, KERNEL, RELEASED)[1]),
            SAME,
        ),
        judged(
            "kernel space, extra time on depthwise networks: as released needs at least twice as much",
            by_model(depthwise, less_extra),
            LESS,
            at_least=True,
        ),
        judged(
            "the same with fused SGD and huge pages for all methods",
            by_model([row for row in tuned if row["model"] in DEPTHWISE], less_extra),
            LESS,
            at_least=True,
        ),
        judged(
            f"gradient space, growth of a layer's cost with its channels, 32 to 2048: exponent at most {GROWTH}",
            growths,
            GROWTH,
        ),
        judged("the same over 256 to 2048 channels", late, GROWTH),
    ]
    return table(("goal", "measured", "result"), rows)
