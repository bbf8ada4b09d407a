"""Training steps on a GPU under all settings, and how far rewriting gradients is from what its memory allows.

    python benchmarks/gpu.py                   # on a GPU; again, until it says that nothing is left
    python benchmarks/performance.py           # the page

Whole steps of the models of ``step_time.py`` at 224 px and of a ResNet-20 at 32 px, by the four methods in turn:
float32 and autocast to bfloat16, channels last or not, batches of 128 and 512, compiled or not. Times are those of
the device, by its events. In the same run the bandwidth of its memory is measured, and the time that gradient space
takes for g -> g G alone. Its floor is what must be moved, gradients, bases or Grams, and results once each, over that
bandwidth.

A piece is one model under one setting, a line of ``benchmarks/gpu.jsonl``. No piece is begun after ``--minutes``, so
that a call ends within ten, and what is recorded is not measured again without ``--fresh``. A setting that does not fit
into memory is recorded as such.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import step_time
from clock import WARM_UP, bandwidth, on_device
from four_methods import GRADIENT, METHODS, PLAIN, Contender
from lines import Lines, conditions
from pages import table
from ratios import ratio
from refconv.fused import launching
from refconv.gradspace.batching import way
from timed_networks import RESNET20

RECORD = Path(__file__).with_suffix(".jsonl")
MODELS = step_time.MODELS
NOT_MEASURED = "Not measured: no GPU so far."

Row = dict[str, Any]


def timed(contender: Contender, images: Tensor, labels: Tensor) -> tuple[float, float]:
    """Take a step and return its seconds on the device and its loss."""
    elapsed, loss = on_device(lambda: contender.step(images, labels), images.device)
    return elapsed, float(loss)


def rewriting(contender: Contender, repetitions: int) -> dict[str, Any]:
    """Return the seconds of g -> g G for a whole network, and the bytes that it must read and write at least."""
    optimizer: Any = contender.optimizer
    groups, moved = [], 0
    for group in optimizer.param_groups:
        kernels = [one for one in group["params"] if one in optimizer._metrics and one.grad is not None]
        if kernels:
            groups.append((kernels, [kernel.grad for kernel in kernels], group))
            moved += sum(3 * kernel.numel() * kernel.element_size() for kernel in kernels)
    metrics = optimizer._metrics.values()
    moved += sum(
        grams.numel() * grams.element_size() for one in metrics if (grams := getattr(one, "grams", None)) is not None
    )
    device = groups[0][0][0].device

    @torch.no_grad()
    def rewrite() -> None:
        for group in groups:
            optimizer._rewritten(*group)

    def seconds() -> list[float]:
        times = [on_device(rewrite, device)[0] for _ in range(WARM_UP + repetitions)]
        return [round(value, 8) for value in times[WARM_UP:]]

    found: Row = {"seconds": seconds(), "bytes": moved, "layers": len(metrics)}
    if way(device) == "triton":  # the same with all dense slices in tiles, in place of small ones in registers
        unrolled, launching._UNROLLED = launching._UNROLLED, 0
        found["in tiles"] = seconds()
        launching._UNROLLED = unrolled
    return found


def measure(model: str, setting: Row, repetitions: int, copied: int) -> Row:
    """Return the record of one model under one setting.

    Args:
        model: :data:`RESNET20`, or timm's name.
        setting: as in ``step_time.py``.
        repetitions: measured steps of each method.
        copied: bytes that are copied for the bandwidth.
    """
    device = torch.device(setting["device"])
    contenders, images, labels = step_time.prepared(model, tuple(METHODS), setting)
    found = step_time.in_turn(contenders, images, labels, repetitions, timed)
    return {
        "model": model,
        "setting": setting,
        **found,
        "rewriting": rewriting(contenders[GRADIENT], repetitions),
        "bandwidth": bandwidth(device, copied, repetitions),
        "conditions": conditions(device),
    }


def ways(setting: Row) -> str:
    """Say in words what differs between settings, beside batch and size."""
    flags = {"channels_last": "channels last", "compile": "compiled"}
    dtype = setting["amp"] if setting["amp"] != "none" else "float32"
    return ", ".join([dtype, *(text for flag, text in flags.items() if setting[flag])])


def shown(rows: Sequence[Row]) -> str:
    """Return the table of a page: whole steps over plain ones, and g -> g G over its floor."""
    measured = [row for row in rows if row["setting"]["device"] != "cpu" and "seconds" in row]
    if not measured:
        return NOT_MEASURED
    lines = []
    for row in measured:
        setting, rewritten = row["setting"], row["rewriting"]
        spent, floor = statistics.median(rewritten["seconds"]), rewritten["bytes"] / row["bandwidth"]
        ratios = [f"{ratio(row, method)[1]:.3f}" for method in METHODS if method != PLAIN]
        plain = f"{1e3 * statistics.median(row['seconds'][PLAIN]):.1f}"
        tiles = f"{1e3 * statistics.median(rewritten['in tiles']):.3f}" if "in tiles" in rewritten else ""
        own = [f"{1e3 * spent:.3f}", tiles, f"{1e3 * floor:.3f}", f"{spent / floor:.1f}"]
        lines.append((row["model"], setting["batch_size"], ways(setting), plain, *ratios, *own))
    header = (
        "model",
        "batch",
        "setting",
        "plain, ms",
        *list(METHODS)[1:],
        "g to g G, ms",
        "in tiles, ms",
        "its floor, ms",
        "over it",
    )
    machines = ", ".join(sorted({row["conditions"]["machine"] for row in measured}))
    versions = " or ".join(sorted({f"torch {row['conditions']['versions']['torch']}" for row in measured}))
    return f"{table(header, lines)}\n\n{machines}; {versions}; times of the device."


def arguments(given: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--batch-sizes", nargs="+", type=int, default=(128, 512))
    parser.add_argument("--img-size", type=int, help="of all models; by default 224, and 32 for resnet20")
    parser.add_argument("--amp", nargs="+", default=("bfloat16", "none"), choices=("bfloat16", "none"))
    parser.add_argument(
        "--layouts", nargs="+", default=("last", "first"), choices=("last", "first"), help="of channels"
    )
    parser.add_argument("--compile", nargs="+", default=("off", "on"), choices=("off", "on"), help="torch.compile")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--copied", type=int, default=2**30, help="bytes that are copied for the bandwidth")
    parser.add_argument("--minutes", type=float, default=5.0, help="no piece is begun later than that")
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--fresh", action="store_true", help="measure again what the record has")
    return parser.parse_args(given)


def main(given: Sequence[str] | None = None) -> None:
    """Measure what the record has not, as long as there is time."""
    chosen, start = arguments(given), time.monotonic()
    record = Lines(chosen.record, "model", "setting")
    pieces = [
        (
            model,
            {
                "device": chosen.device,
                "batch_size": batch_size,
                "img_size": chosen.img_size or (32 if model == RESNET20 else 224),
                "amp": amp,
                "channels_last": layout == "last",
                "compile": compiled == "on",
                "fused": False,
                "huge_pages": False,
            },
        )
        for compiled, batch_size, amp, layout in itertools.product(
            chosen.compile, chosen.batch_sizes, chosen.amp, chosen.layouts
        )
        for model in chosen.models
    ]
    left = [piece for piece in pieces if chosen.fresh or not record.has(model=piece[0], setting=piece[1])]
    while left and time.monotonic() - start < 60 * chosen.minutes:
        model, setting = left.pop(0)
        try:
            row = measure(model, setting, chosen.repetitions, chosen.copied)
        except torch.OutOfMemoryError:
            row = {"model": model, "setting": setting, "out_of_memory": True}
        record.put(row)
        medians = {method: statistics.median(values) for method, values in row.get("seconds", {}).items()}
        text = [f"{method} {1e3 * median:.2f} ms" for method, median in medians.items()] or ["out of memory"]
        print(model, setting["batch_size"], *text, sep="  ", flush=True)
        gc.collect()
        torch.compiler.reset()
        if torch.device(chosen.device).type == "cuda":
            torch.cuda.empty_cache()
    print(f"{len(left)} of {len(pieces)} pieces are left{': run the command again' if left else ''}", flush=True)


if __name__ == "__main__":
    main()
