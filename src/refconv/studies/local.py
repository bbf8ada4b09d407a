"""Runs executed on this machine: in this process, or in several beside one another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from refconv.named_code import inherit, trusted
from refconv.process.interruption import SIGNALS
from refconv.process.workers import signals_held_back
from refconv.studies.outcome import Outcome
from refconv.studies.runs import Run

_DEVICES = "CUDA_VISIBLE_DEVICES"
_BY_SIGTERM = {-signal.SIGTERM, 128 + signal.SIGTERM}  #: Statuses of a process that the signal ended, or that heard it


class SerialExecutor(nullcontext[None]):
    """One run at a time, in this process; ``keep`` as in :class:`refconv.studies.study.Study`."""

    def __init__(self, keep: str) -> None:
        super().__init__()
        self._keep = keep
        self._run: Run | None = None

    slots = 1  #: Runs at a time

    @property
    def free(self) -> bool:
        """Whether another run can be started now."""
        return self._run is None

    def start(self, run: Run) -> None:
        """Take a run; it is executed by :meth:`wait`."""
        self._run = run

    def wait(self, seconds: float) -> list[tuple[Run, Outcome]]:
        """Execute the run, however long that takes."""
        from refconv.studies.execution import execute

        assert self._run is not None  # nobody waits for nothing
        run, self._run = self._run, None
        return [(run, execute(run, self._keep))]


@dataclass
class _Place:
    """One process and what it does."""

    process: BaseProcess
    connection: Connection
    run: Run | None = None


class ProcessExecutor:
    """Several processes, each of which executes one run after the other.

    They are started anew, not forked, because neither threads nor an accelerator survive a fork. A process that dies
    fails its run alone. The devices, as ``CUDA_VISIBLE_DEVICES`` names them, are shared out; there are none on the CPU.
    """

    def __init__(self, jobs: int, threads: int, keep: str, devices: Sequence[str] = ()) -> None:
        self._threads, self._keep = threads, keep
        self._devices = [devices[i % len(devices)] if devices else None for i in range(jobs)]
        self._places: list[_Place] = []

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        for place in self._places:
            place.process.terminate()  # a run in its loop writes a checkpoint first
        try:
            for place in self._places:
                place.process.join()
                place.connection.close()
        except KeyboardInterrupt:  # a second signal; this process would wait for them at its end
            for place in self._places:
                place.process.kill()
            raise

    @property
    def slots(self) -> int:
        """Runs at a time."""
        return len(self._devices)

    @property
    def free(self) -> bool:
        """Whether another run can be started now."""
        return len(self._places) < self.slots or any(place.run is None for place in self._places)

    def start(self, run: Run) -> None:
        """Give a run to a process that has nothing to do, which is started if there is none."""
        if all(place.run is not None for place in self._places):
            self._begin(len(self._places))
        place = next(place for place in self._places if place.run is None)
        place.run = run
        place.connection.send(run)

    def wait(self, seconds: float) -> list[tuple[Run, Outcome]]:
        """Wait for so many seconds at most until runs have ended, and return them; a dead process is replaced."""
        busy = {place.connection: place for place in self._places if place.run is not None}
        return [self._ended(busy[connection]) for connection in wait(list(busy), seconds) if connection in busy]

    def _ended(self, place: _Place) -> tuple[Run, Outcome]:
        assert place.run is not None  # only those that are busy are waited for
        run, place.run = place.run, None
        try:
            return run, place.connection.recv()
        except (EOFError, ConnectionResetError):
            place.process.join()
            place.connection.close()
            self._begin(self._places.index(place))
            words = f"{run.folder}: its process {_how(place.process.exitcode)}"
            return run, Outcome("stopped" if place.process.exitcode in _BY_SIGTERM else "failed", words)

    def _begin(self, number: int) -> None:
        """Start a process for a place, a new one or that of a process which died."""
        context = multiprocessing.get_context("spawn")
        ends: tuple[Any, Any] = context.Pipe()  # of another class on Windows
        ours, theirs = ends
        process = context.Process(
            target=_work, args=(theirs, self._threads, self._keep, trusted())
        )  # not daemonic: a run may have data workers
        with _visible(self._devices[number]), signals_held_back():  # until the process is one of those that are ended
            process.start()
            self._places[number : number + 1] = [_Place(process, ours)]
        theirs.close()


def visible_devices() -> list[str]:
    """Return the CUDA devices of this process, as ``CUDA_VISIBLE_DEVICES`` names them."""
    import torch

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get(_DEVICES, "").split(",") if name.strip()]
    return named[:count] if named else [str(i) for i in range(count)]


def _work(connection: Connection, threads: int, keep: str, names: frozenset[str]) -> None:
    """Execute the runs that come through a connection, until it is closed; code of these names is trusted."""
    inherit(names)
    # The terminal sends Ctrl-C to all processes, and Slurm its warning before a time limit; only the first process
    # decides, and it sends the terminating signal.
    if sys.platform == "win32":
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    else:
        others = [number for number in SIGNALS if number != signal.SIGTERM]
        signal.pthread_sigmask(signal.SIG_SETMASK, [*others, signal.SIGUSR2])
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    from refconv.studies.execution import execute

    torch.set_num_threads(threads)
    while True:
        try:
            run: Run = connection.recv()
        except EOFError:
            return
        outcome = execute(run, keep)
        connection.send(outcome)
        if outcome.state == "stopped":  # by the terminating signal, which is for the process and not for one run
            return


def _end_with_parent() -> None:
    """Stop this process, with a checkpoint if it is in its loop, when the one that started it is gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a process that multiprocessing started
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


@contextmanager
def _visible(device: str | None) -> Iterator[None]:
    """Let processes that are started in the block see one device only; all that this one sees for None."""
    before = os.environ.get(_DEVICES)
    if device is not None:
        os.environ[_DEVICES] = device
    try:
        yield
    finally:
        if before is not None:
            os.environ[_DEVICES] = before
        elif device is not None:
            del os.environ[_DEVICES]


def _how(status: int | None) -> str:
    if status is not None and status < 0:
        return f"was ended by {signal.Signals(-status).name}" + (", probably out of memory" if status == -9 else "")
    return f"ended with status {status}; its message is above"
