"""Which route is quicker: for R P in kernel space, and for g G in gradient space?

    python benchmarks/routes.py [--repetitions 30]

Times the routes in turn in one process, for blocks of one to many slices, and writes ``benchmarks/routes.json`` and
the tables in docs/math.md. ``Refocus.by_convolution`` and ``gradspace.metric.metric_of`` follow what they show.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from pages import ROOT, replace_part, table
from refconv.ops import (
    apply_gram,
    apply_gram_by_convolution,
    apply_gram_by_patches,
    metric_gram,
    patches,
    refocus_by_convolution,
    refocus_by_patches,
)

WARM_UP = 3

# (blocks, slices per block, kernel side): dense layers of 64 to 512 channels, grouped and depthwise ones
CASES = (
    (64 * 64, 1, 3),
    (256 * 256, 1, 3),
    (512 * 512, 1, 3),
    (3 * 64, 1, 7),
    (128 * 128, 2, 3),
    (64 * 64, 4, 3),
    (16 * 16, 8, 3),
    (24 * 24, 16, 3),
    (1, 96, 3),
    (1, 480, 5),
    (1, 384, 7),
)


def milliseconds(step: Callable[[], Tensor], gradient: Tensor, weight: Tensor) -> float:
    """Time one forward and backward in milliseconds."""
    start = time.perf_counter()
    step().backward(gradient)
    elapsed = time.perf_counter() - start
    weight.grad = None
    return elapsed * 1e3


def measure(blocks: int, slices: int, side: int, repetitions: int) -> dict[str, float | int]:
    """Time both routes on one shape, alternating, and return medians and the median of paired ratios."""
    kernel_size = (side, side)
    map_size = (3, 3)
    base = torch.randn(blocks, slices, side * side)
    weight = torch.randn(blocks, slices, slices * 9, requires_grad=True)
    gradient = torch.randn_like(base)
    unfolded = patches(base, kernel_size, map_size)
    gemm = partial(refocus_by_patches, weight, unfolded)
    convolution = partial(refocus_by_convolution, weight, base, kernel_size, map_size)
    pairs = [
        (milliseconds(gemm, gradient, weight), milliseconds(convolution, gradient, weight))
        for _ in range(repetitions + WARM_UP)
    ][WARM_UP:]
    return {
        "blocks": blocks,
        "slices": slices,
        "kernel": side,
        "gemm_ms": statistics.median(pair[0] for pair in pairs),
        "convolution_ms": statistics.median(pair[1] for pair in pairs),
        "gemm_over_convolution": statistics.median(pair[0] / pair[1] for pair in pairs),
    }


def measure_metric(blocks: int, slices: int, side: int, repetitions: int) -> dict[str, float | int]:
    """Time the three routes of g -> g G on one shape, in turn, and return medians in milliseconds."""
    kernel_size, map_size = (side, side), (3, 3)
    base = torch.randn(blocks, slices, side * side)
    gradient = torch.randn_like(base)
    grams = metric_gram(base, kernel_size, map_size)
    routes = {
        "gram": partial(apply_gram, gradient, grams),
        "convolution": partial(apply_gram_by_convolution, gradient, base, kernel_size, map_size),
        "patches": partial(apply_gram_by_patches, gradient, base, kernel_size, map_size),
    }
    seconds: dict[str, list[float]] = {name: [] for name in routes}
    for _ in range(repetitions + WARM_UP):
        for name, route in routes.items():
            start = time.perf_counter()
            route()
            seconds[name].append(time.perf_counter() - start)
    medians = {f"{name}_ms": 1e3 * statistics.median(values[WARM_UP:]) for name, values in seconds.items()}
    ratio = grams.numel() / base.numel()
    return {"blocks": blocks, "slices": slices, "kernel": side, **medians, "gram_over_kernel": ratio}


def _shape(row: dict[str, float | int]) -> tuple[object, ...]:
    return f"{row['blocks']:,}", row["slices"], f"{row['kernel']} x {row['kernel']}"


def main() -> None:
    """Measure, record, and put the tables into docs/math.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=30)
    repetitions = parser.parse_args().repetitions
    torch.manual_seed(0)
    threads = torch.get_num_threads()
    record = {
        "torch": torch.__version__.partition("+")[0],
        "machine": f"{platform.machine()}, {threads} thread{'' if threads == 1 else 's'}",
        "repetitions": repetitions,
        "rows": [measure(*case, repetitions) for case in CASES],
        "metric": [measure_metric(*case, repetitions) for case in CASES],
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    kernel_space = table(
        ("blocks", "slices", "kernel", "GEMM, ms", "convolution, ms", "GEMM / convolution"),
        (
            (
                *_shape(row),
                f"{row['gemm_ms']:.2f}",
                f"{row['convolution_ms']:.2f}",
                f"{row['gemm_over_convolution']:.2f}",
            )
            for row in record["rows"]
        ),
    )
    gradient_space = table(
        ("blocks", "slices", "kernel", "Gram, ms", "convolution, ms", "patches, ms", "numbers in Gram / kernel"),
        (
            (
                *_shape(row),
                *(f"{row[name]:.3f}" for name in ("gram_ms", "convolution_ms", "patches_ms")),
                f"{row['gram_over_kernel']:.2f}",
            )
            for row in record["metric"]
        ),
    )
    where = f"torch {record['torch']}, {record['machine']}."
    page = ROOT / "docs" / "math.md"
    replace_part(page, "routes", f"{kernel_space}\n\nForward and backward, float32, {where}")
    replace_part(page, "metric", f"{gradient_space}\n\nfloat32, {where}")
    print(kernel_space, gradient_space, sep="\n\n")


if __name__ == "__main__":
    main()
