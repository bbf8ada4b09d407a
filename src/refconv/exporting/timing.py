"""Latency and memory of two networks of one structure, side by side, in torch and in onnxruntime."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from refconv.errors import ModelError, SettingError
from refconv.exporting.config import ExportConfig
from refconv.exporting.formats import operations, write
from refconv.exporting.network import Deployed, check_exportable
from refconv.models.exported import onnx_session
from refconv.models.opening import Opened
from refconv.models.run_folder import AGAIN, writing
from refconv.records import Record
from refconv.surgery import verify
from refconv.tasks.model_data import preprocessing_of
from refconv.tasks.registry import task_named

_WARM_UP = 3
_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Timing(Record):
    """Two networks in one runtime; each repetition runs both, in turns the one or the other first."""

    runtime: str
    before_ms: float  #: median latency of a batch
    after_ms: float
    ratio: float  #: median, over repetitions, of after / before
    low: float  #: 95 % interval of the median ratio, from the order of the ratios
    high: float
    before_mb: float | None  #: peak memory of a fresh process that loads and runs it, beyond the runtime's own
    after_mb: float | None

    def __str__(self) -> str:
        memory = "memory not measured here"
        if self.before_mb is not None and self.after_mb is not None:
            memory = f"peak memory {self.before_mb:.1f} and {self.after_mb:.1f} MB"
        times = f"{self.before_ms:.2f} ms before, {self.after_ms:.2f} ms after"
        return f"{self.runtime:<12} {times}, ratio {self.ratio:.3f} ({self.low:.3f} to {self.high:.3f}); {memory}"


@dataclass(frozen=True)
class BenchRecord(Record):
    """What ``refconv bench`` found; the graphs are the same, or there is no record."""

    before: str
    after: str
    shape: tuple[int, ...]  #: of a batch
    threads: int
    repetitions: int
    operations: int  #: of either network's ONNX graph
    parameters: int
    timings: tuple[Timing, ...]

    def __str__(self) -> str:
        shape = " x ".join(map(str, self.shape))
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}"
        graph = f"graph        the same: {self.operations} operations, {self.parameters:,} parameters"
        how = f"input        {shape}, {threads}, median of {self.repetitions} pairs, 95 % interval of the ratio"
        return "\n".join([graph, how, *map(str, self.timings)])


def bench(before: Opened, after: Opened, *, batch_size: int = 1, repetitions: int = 50) -> BenchRecord:
    """Measure latency and memory of two networks on the CPU, with as many threads as torch has.

    Raises:
        ModelError: if the two have not the same structure, or not the same operations in ONNX.
        SettingError: if there are too few repetitions for an interval, or lists of images are taken.
    """
    if repetitions < 10:
        raise SettingError("too few for an interval", where="repetitions", expected="10", found=str(repetitions))
    task = task_named(after.task)
    if task.takes_lists and batch_size != 1:
        raise SettingError("is for one image at a time", where="batch_size", expected="1", found=str(batch_size))
    certificate = verify(before.model, after.model)
    if not certificate.same_structure:
        what, remedy = "the two are not the same network, so nothing was measured", "refconv verify says what differs"
        raise ModelError(what, where=after.name, remedy=remedy)
    shape = (batch_size, *preprocessing_of(after if after.stated else before, task).input_size)
    images = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    networks = []
    for opened in (before, after):
        check_exportable(opened.model, task, ExportConfig())
        networks.append(Deployed(opened.model, task, None))
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder, f"{name}.onnx") for name in ("before", "after")]
        modules = [file.with_suffix(".module") for file in files]
        for network, file, module in zip(networks, files, modules, strict=True):
            network.look_at(images)
            with writing(file, AGAIN):
                write(network, images, {}, file, ExportConfig(), {})
            with contextlib.suppress(AttributeError, TypeError, RuntimeError, pickle.PicklingError):
                torch.save(network, module)  # for the measurement of memory, which is left out without it
        torch.save(images, Path(folder, "images.pt"))
        graphs = [operations(file) for file in files]
        if graphs[0] != graphs[1]:
            apart = sorted(kind for kind in {*graphs[0], *graphs[1]} if graphs[0].get(kind) != graphs[1].get(kind))
            found = ", ".join(f"{kind} {graphs[0].get(kind, 0)} and {graphs[1].get(kind, 0)}" for kind in apart)
            raise ModelError("the two have not the same graph in ONNX", where=after.name, found=found)
        peaks = _peaks_mb([*modules, *files])
        timings = (
            _timed("torch", [_in_torch(network, images) for network in networks], peaks[:2], repetitions),
            _timed("onnxruntime", [_in_onnxruntime(file, images) for file in files], peaks[2:], repetitions),
        )
    count = sum(parameter.numel() for parameter in networks[1].parameters())
    names = [one.name if one.located is None else str(one.located.path) for one in (before, after)]
    how = (shape, torch.get_num_threads(), repetitions)
    return BenchRecord(names[0], names[1], *how, sum(graphs[0].values()), count, timings)


def _in_torch(network: nn.Module, images: Tensor) -> Callable[[], Any]:
    @torch.inference_mode()
    def run() -> Any:
        return network(images)

    return run


def _in_onnxruntime(file: Path, images: Tensor) -> Callable[[], Any]:
    session = onnx_session(file)
    given = {session.get_inputs()[0].name: images.numpy()}
    return lambda: session.run(None, given)


def _timed(name: str, runs: Sequence[Callable[[], Any]], peaks: Sequence[float | None], repetitions: int) -> Timing:
    for _ in range(_WARM_UP):
        for run in runs:
            run()
    seconds: list[list[float]] = [[], []]
    for repetition in range(repetitions):
        for which in (0, 1) if repetition % 2 else (1, 0):
            start = time.perf_counter()
            runs[which]()
            seconds[which].append(time.perf_counter() - start)
    ratios = sorted(after / before for before, after in zip(*seconds, strict=True))
    low, high = median_interval(ratios)
    before, after = (statistics.median(times) * 1000 for times in seconds)
    return Timing(name, before, after, statistics.median(ratios), low, high, *peaks)


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return a 95 % interval of the median of sorted values: from rank n/2 - 0.98 sqrt(n) to its mirror (binomial).

    Example:
        >>> median_interval(range(1, 101))
        (40, 61)
    """
    count, spread = len(values), 0.98 * math.sqrt(len(values))
    low = max(math.floor(count / 2 - spread) - 1, 0)
    return values[low], values[min(count - 1 - low, count - 1)]


def _peaks_mb(files: Sequence[Path]) -> list[float | None]:
    """Return the peak memory of fresh processes that load and run a network each, beyond that of their libraries.

    One process imports these libraries, which takes seconds, and forks for each network before anything has used them.
    """
    if not _STATUS.is_file():
        return [None] * len(files)
    code = f"from refconv.exporting import timing; timing.print_peaks({[*map(str, files)]}, {torch.get_num_threads()})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    found = dict(line.split("\t") for line in done.stdout.splitlines())
    return [float(found[str(file)]) if str(file) in found else None for file in files]


def print_peaks(files: Sequence[str], threads: int) -> None:
    """Print for each file that can be run its name, a tab, and the peak memory in MB; each in a process of its own."""
    import onnxruntime  # noqa: F401

    if sys.platform != "win32":  # where nothing forks, nor is there the file that memory is read from
        for file in files:
            process = os.fork()
            if process:
                os.waitpid(process, 0)
                continue
            with contextlib.suppress(OSError, AttributeError, ImportError, RuntimeError):
                _print_peak(file, threads)
            os._exit(0)


def _print_peak(file: str, threads: int) -> None:
    """Load and run a network in this process, and print by how much its memory grew at most, in MB."""
    torch.set_num_threads(threads)
    images = torch.load(Path(file).parent / "images.pt")
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak starts at what is used now
    start = _resident("VmHWM")
    if file.endswith(".onnx"):
        run = _in_onnxruntime(Path(file), images)
    else:
        run = _in_torch(torch.load(file, weights_only=False), images)  # written by this program, a moment ago
    for _ in range(_WARM_UP):
        run()
    print(file, _resident("VmHWM") - start, sep="\t", flush=True)


def _resident(name: str) -> float:
    line = next(line for line in _STATUS.read_text(encoding="ascii").splitlines() if line.startswith(name))
    return int(line.split()[1]) / 1024
