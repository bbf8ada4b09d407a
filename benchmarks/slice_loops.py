"""Which way of g -> g G is quickest on a CPU for dense kernels, whose slices are blocks of their own?

    OMP_NUM_THREADS=1 python benchmarks/slice_loops.py [--repetitions 20]

The ways: two convolutions; torch's operations on chunks with the slices along the fast axis; the same formula through
torch.compile; a loop in Python that numba compiles (measured where numba is installed, ``pip install numba``); and the
loops of ``refconv.fused``. They take turns in one process, after each has compiled. Beside them stand the time of
reading g and B and writing g G once at the bandwidth of a copy, and what each had to compile first. Writes
``benchmarks/slice_loops.json`` and the table in docs/math.md.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lines import Beside, check_quiet
from pages import ROOT, replace_part, table
from refconv.fused import slices
from refconv.ops import apply_gram_by_convolution

RECORD = Path(__file__).with_suffix(".json")
CASES = ((64 * 64, 3), (512 * 512, 3), (128 * 128, 5))  # slices, kernel side; maps of 3 x 3
CHUNK = 2**13  # slices that stay in the cache with all that is made of them
WARM_UP = 3

Way = Callable[[Tensor, Tensor], Tensor]


def by_convolution(side: int) -> Way:
    """Return the reference of gradient space."""
    sizes = (side, side), (3, 3)
    return lambda g, base: apply_gram_by_convolution(g[:, None], base[:, None], *sizes)[:, 0]


def along_slices(side: int) -> Way:
    """Return torch's operations on taps x slices, a chunk at a time."""
    windows = [
        tuple(slice(max(0, -d), side - max(0, d)) for d in shift)
        + tuple(slice(max(0, d), side + min(0, d)) for d in shift)
        for shift in product((-1, 0, 1), repeat=2)
    ]

    def way(g: Tensor, base: Tensor) -> Tensor:
        out = torch.empty_like(g)
        for first in range(0, len(g), CHUNK):
            part = slice(first, first + CHUNK)
            own, taps = (one[part].T.contiguous().view(side, side, -1) for one in (g, base))
            found = torch.zeros_like(own)
            for y, x, v, u in windows:
                weight = (own[y, x] * taps[v, u]).sum((0, 1))
                found[y, x].addcmul_(weight.expand_as(taps[v, u]), taps[v, u])
            out[part] = found.view(side * side, -1).T
        return out

    return way


def by_compiler(side: int) -> Way:
    """Return the formula as torch.compile has it: every number of g G as a sum over pairs of taps."""
    pairs = list(slices._pairs((side, side), (3, 3)))

    def formula(g: Tensor, base: Tensor) -> Tensor:
        found: list[Any] = [0] * side**2
        for shift in pairs:
            weight = sum(g[:, to] * base[:, source] for to, source in shift)
            for to, source in shift:
                found[to] = found[to] + weight * base[:, source]
        return torch.stack(found, 1)

    compiled: Way = torch.compile(formula, dynamic=False)
    return compiled


def by_numba(side: int) -> Way | None:
    """Return a loop that numba compiles, if it is there."""
    try:
        import numba  # type: ignore[import-not-found, unused-ignore]  # an option of this script
    except ImportError:
        return None
    pairs = list(slices._pairs((side, side), (3, 3)))
    first = [0]
    for shift in pairs:
        first.append(first[-1] + len(shift))
    to, source = (tuple(pair[end] for shift in pairs for pair in shift) for end in (0, 1))
    bounds, taps = tuple(first), side**2

    @numba.njit(fastmath={"contract"}, cache=False)  # type: ignore[untyped-decorator, unused-ignore]  # likewise
    def loop(out: Any, g: Any, base: Any) -> None:
        for i in range(len(g)):
            for y in range(taps):
                out[i, y] = 0
            for d in range(9):
                weight = g[i, 0] * 0
                for e in range(bounds[d], bounds[d + 1]):
                    weight += g[i, to[e]] * base[i, source[e]]
                for e in range(bounds[d], bounds[d + 1]):
                    out[i, to[e]] += weight * base[i, source[e]]

    def way(g: Tensor, base: Tensor) -> Tensor:
        out = torch.empty_like(g)
        loop(out.numpy(), g.numpy(), base.numpy())
        return out

    return way


def by_loops(side: int) -> Way:
    """Return the loops of the library."""
    sizes = (side, side), (3, 3)
    return lambda g, base: slices.multiply(g.view(-1, side, side), base.view(-1, side, side), *sizes).view_as(g)


WAYS: dict[str, Callable[[int], Way | None]] = {
    "convolutions": by_convolution,
    "operations along slices": along_slices,
    "torch.compile": by_compiler,
    "numba": by_numba,
    "compiled loops": by_loops,
}


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long it takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(number: int, side: int, repetitions: int) -> dict[str, Any]:
    """Return medians of all ways in milliseconds, and the seconds of their first calls."""
    torch.manual_seed(0)
    g, base = torch.randn(number, side**2), torch.randn(number, side**2) / side
    ways = {name: way for name, make in WAYS.items() if (way := make(side)) is not None}
    expected = by_convolution(side)(g.double(), base.double())
    first, times = {}, {name: [] for name in [*ways, "copy"]}  # type: dict[str, float], dict[str, list[float]]
    for name, way in ways.items():
        first[name] = seconds_of(partial(way, g, base))
        torch.testing.assert_close(way(g, base).double(), expected, rtol=1e-4, atol=1e-4)
    target = torch.empty_like(g)
    for _ in range(WARM_UP + repetitions):
        for name, way in ways.items():
            times[name].append(seconds_of(lambda way=way: way(g, base)))  # type: ignore[misc]  # mypy cannot infer the default of a lambda
        times["copy"].append(seconds_of(lambda: target.copy_(g)))
    medians = {name: 1e3 * statistics.median(values[WARM_UP:]) for name, values in times.items()}
    return {"slices": number, "kernel": side, "ms": medians, "first_s": first}


def shown(record: dict[str, Any]) -> str:
    """Return the table of the page."""
    rows = record["rows"]
    names = [name for name in WAYS if name in rows[0]["ms"]]
    lines = [
        (
            f"{row['slices']:,}",
            f"{row['kernel']} x {row['kernel']}",
            *(f"{row['ms'][name]:.3f}" for name in names),
            f"{1.5 * row['ms']['copy']:.3f}",  # a copy reads and writes once; here two are read and one is written
        )
        for row in rows
    ]
    first = ", ".join(f"{name} {rows[0]['first_s'][name]:.1f} s" for name in names)
    header = ("slices", "kernel", *(f"{name}, ms" for name in names), "reading and writing once, ms")
    where = f"float32, torch {record['torch']}, {record['machine']}; first calls: {first}."
    return f"{table(header, lines)}\n\n{where}"


def main() -> None:
    """Measure, record, and put the table into docs/math.md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "math.md")
    parser.add_argument("--loaded", action="store_true", help="record although other work runs beside")
    chosen = parser.parse_args()
    threads, beside = torch.get_num_threads(), Beside()
    record = {
        "torch": torch.__version__.partition("+")[0],
        "machine": f"{platform.machine()}, {threads} thread{'' if threads == 1 else 's'}",
        "repetitions": chosen.repetitions,
        "rows": [measure(*case, chosen.repetitions) for case in CASES],
    }
    record["beside"] = beside.cores()
    if not chosen.loaded:
        check_quiet(record["beside"])
    chosen.record.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    replace_part(chosen.page, "loops", shown(record))


if __name__ == "__main__":
    main()
