"""Which route computes R P faster: the GEMM over stored patches, or the convolution primitive over the slices?

    python benchmarks/routes.py [--repetitions 30]

Times forward and backward of both routes, alternating in one process, for blocks of one to many slices, and
writes ``benchmarks/routes.json`` and the table in docs/math.md. ``Refocus.by_convolution`` follows what it shows.
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
from refconv.ops import patches, refocus_by_convolution, refocus_by_patches

WARM_UP = 3

# (blocks, slices per block, kernel side): dense sites of 64 to 512 channels, grouped and depthwise ones
CASES = (
    (64 * 64, 1, 3),
    (256 * 256, 1, 3),
    (512 * 512, 1, 3),
    (3 * 64, 1, 7),
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


def main() -> None:
    """Measure, record, and put the table into docs/math.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=30)
    repetitions = parser.parse_args().repetitions
    torch.manual_seed(0)
    rows = [measure(*case, repetitions) for case in CASES]
    record = {
        "torch": torch.__version__.partition("+")[0],
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "repetitions": repetitions,
        "rows": rows,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    text = table(
        ("blocks", "slices", "kernel", "GEMM, ms", "convolution, ms", "GEMM / convolution"),
        (
            (
                f"{row['blocks']:,}",
                row["slices"],
                f"{row['kernel']} x {row['kernel']}",
                f"{row['gemm_ms']:.2f}",
                f"{row['convolution_ms']:.2f}",
                f"{row['gemm_over_convolution']:.2f}",
            )
            for row in rows
        ),
    )
    where = f"\n\nForward and backward, float32, torch {record['torch']}, {record['machine']}."
    replace_part(ROOT / "docs" / "math.md", "routes", text + where)
    print(text)


if __name__ == "__main__":
    main()
