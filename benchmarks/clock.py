"""Times of work on a device, and the bandwidth of its memory."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

WARM_UP = 2  #: Repetitions that are not counted


def on_device(work: Callable[[], Any], device: torch.device) -> tuple[float, Any]:
    """Return the seconds that work takes on its device, by the device's events, and what it returns."""
    if device.type == "cpu":
        start = time.perf_counter()
        found = work()
        return time.perf_counter() - start, found
    module = torch.get_device_module(device.type)
    begin, end = (module.Event(enable_timing=True) for _ in range(2))
    begin.record()
    found = work()
    end.record()
    module.synchronize(device)
    return 1e-3 * begin.elapsed_time(end), found


def bandwidth(device: torch.device, size: int, repetitions: int) -> float:
    """Return the bytes per second of a copy of ``size`` bytes, those read and those written."""
    source = torch.empty(size, dtype=torch.uint8, device=device).fill_(1)
    target = torch.empty_like(source)
    times = [on_device(lambda: target.copy_(source), device)[0] for _ in range(WARM_UP + repetitions)]
    return 2 * size / statistics.median(times[WARM_UP:])
