"""Cost of refocusing one layer, apart from everything else: as released, in kernel space and in gradient space.

    OMP_NUM_THREADS=1 python benchmarks/transform.py [--repetitions 20] [--quick] [--fresh]

As released and in kernel space it is the kernel's forward and backward; in gradient space, g -> g G. The optimizer,
which has more numbers to update where refocus weights exist, is not part of it; ``step_time.py`` has it. Routes take
turns in one process. The growth of each with the channels of a depthwise layer is fitted as a power: the slope of
log(time) over log(channels), by least squares. Calls of a few microseconds are mostly overhead, so the slope over
all channels is lower than that over the larger half; both are recorded.

Every finished layer adds a line to ``benchmarks/transform.jsonl``; ``python benchmarks/performance.py`` makes the page.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import refconv
from as_released import refocus_as_released
from four_methods import GRADIENT, KERNEL, RELEASED
from lines import Lines, conditions
from refconv.gradspace import KernelSpec
from refconv.gradspace.metric import Metric
from refconv.layers import find_layers

RECORD = Path(__file__).with_suffix(".jsonl")
CHANNELS = (32, 64, 128, 256, 512, 1024, 2048)
KERNELS = (3, 5, 7)
# Dense and grouped layers [channels, groups]: what ResNets and RegNets have
OTHERS = ((64, 1), (256, 1), (512, 1), (320, 20), (768, 48))
WARM_UP = 2
SHORTEST = 1e-3  # seconds that a measurement must last; shorter calls are repeated within it

Call = Callable[[], object]


def depthwise_layers(quick: bool) -> list[tuple[int, int, int]]:
    """Return the depthwise layers [channels, groups, kernel side] to measure."""
    return [(c, c, k) for k in KERNELS[: 1 if quick else None] for c in CHANNELS[: 3 if quick else None]]


def routes(channels: int, groups: int, side: int, device: torch.device) -> dict[str, Call]:
    """Return what each method computes at a layer, ready to be called.

    Args:
        channels: in and out.
        groups: of the convolution.
        side: taps of the kernel in each of two dimensions.
        device: where.
    """
    plain = nn.Conv2d(channels, channels, side, groups=groups, bias=False, device=device)
    gradient = torch.randn_like(plain.weight)
    layer = find_layers(plain)[0]
    metric = Metric.of(KernelSpec.of(layer, refconv.RefocusConfig(scale="paper")), plain.weight.detach())
    found: dict[str, Call] = {GRADIENT: lambda: metric.apply(gradient)}
    for name, surgery in ((RELEASED, refocus_as_released), (KERNEL, refconv.refocus)):
        convolution = nn.Conv2d(channels, channels, side, groups=groups, bias=False, device=device)
        surgery(convolution)
        found[name] = there_and_back(convolution, gradient)
    return {name: found[name] for name in (RELEASED, KERNEL, GRADIENT)}


def there_and_back(convolution: nn.Module, gradient: torch.Tensor) -> Call:
    """Return a call that computes the kernel and, from its gradient, that of the refocus weight."""
    trained = [parameter for parameter in convolution.parameters() if parameter.requires_grad]

    def call() -> None:
        kernel = convolution.weight
        assert isinstance(kernel, torch.Tensor)
        kernel.backward(gradient)
        for parameter in trained:
            parameter.grad = None

    return call


def seconds(call: Call, times: int, device: torch.device) -> float:
    """Return the mean time of a call over some calls."""
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        call()
    if on_gpu:
        torch.cuda.synchronize()
    return (time.perf_counter() - start) / times


def measure(channels: int, groups: int, side: int, repetitions: int, device: torch.device) -> dict[str, Any]:
    """Time all routes at a layer, in turn."""
    torch.manual_seed(0)
    calls = routes(channels, groups, side, device)
    first = {name: min(seconds(call, 1, device) for _ in range(1 + WARM_UP)) for name, call in calls.items()}
    times = {name: max(1, round(SHORTEST / once)) for name, once in first.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for repetition in range(repetitions):
        start = repetition % len(names)
        for name in [*names[start:], *names[:start]]:
            found[name].append(seconds(calls[name], times[name], device))
    return {
        "site": [channels, groups, side],
        "device": device.type,
        "seconds": {name: statistics.median(values) for name, values in found.items()},
        "over_released": {
            name: statistics.median(a / b for a, b in zip(values, found[RELEASED], strict=True))
            for name, values in found.items()
        },
        "repetitions": repetitions,
        "conditions": conditions(device),
    }


def growth(points: Sequence[tuple[float, float]]) -> float:
    """Return the exponent e of the power law y = c x^e that fits points (x, y) best on logarithmic axes."""
    x, y = torch.tensor(points, dtype=torch.float64).log().unbind(1)
    centred = x - x.mean()
    return float((centred * y).sum() / centred.square().sum())


def exponents(rows: Sequence[dict[str, Any]], side: int, method: str, least: int = 0) -> float:
    """Return the growth of a method's time with the channels of depthwise layers of one kernel size."""
    points = [
        (row["site"][0], row["seconds"][method])
        for row in rows
        if row["site"][0] == row["site"][1] and row["site"][2] == side and row["site"][0] >= least
    ]
    return growth(points)


def main(given: Sequence[str] | None = None) -> None:
    """Measure what the record has not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repetitions", type=int, default=20)
    parser.add_argument("--record", type=Path, default=RECORD)
    parser.add_argument("--quick", action="store_true", help="a few small layers only")
    parser.add_argument("--fresh", action="store_true", help="measure again what the record has")
    chosen = parser.parse_args(given)
    device = torch.device(chosen.device)
    record = Lines(chosen.record, "site", "device")
    others = [(channels, groups, 3) for channels, groups in OTHERS[: 1 if chosen.quick else None]]
    for layer in [*depthwise_layers(chosen.quick), *others]:
        if chosen.fresh or not record.has(site=list(layer), device=device.type):
            row = measure(*layer, chosen.repetitions, device)
            record.put(row)
            shown = (f"{name} {1e3 * value:.3f} ms" for name, value in row["seconds"].items())
            print("channels {}, groups {}, kernel {}".format(*layer), *shown, sep="  ", flush=True)


if __name__ == "__main__":
    main()
