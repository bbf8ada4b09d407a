"""Samples made by worker processes, in the order that is asked for; what goes wrong in a worker is said in one line."""

from __future__ import annotations

import atexit
import dataclasses
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext
from multiprocessing.reduction import ForkingPickler
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from refconv.errors import DataError, RefconvWarning
from refconv.process.interruption import SIGNALS

_GUARD = 'call refconv below if __name__ == "__main__":'
"""What a script must do whose data is read by workers, as they import it."""


@atexit.register  # after multiprocessing's own, and so called before it
def _kill_workers() -> None:
    """End workers that are left when this process exits, as when an error that is still referred to holds their loader.

    multiprocessing sends SIGTERM to daemonic processes, which workers do not hear, and waits for them.
    """
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


class SampleSource(Protocol):
    """Samples by index; picklable, as worker processes get a copy.

    A sample is a function of its index and of what the object holds, such as seed and epoch, and asks no generator
    that others have used.
    """

    def __getitem__(self, index: int) -> Any:
        """Return one sample."""


def load_batches(
    samples: SampleSource, batches: Sequence[Tensor], *, workers: int, collate: Callable[[list[Any]], Any]
) -> Iterator[Any]:
    """Yield batches of samples, made ahead of time by worker processes; 0 makes them in this one."""
    loader = DataLoader(
        _Guarded(samples),
        batch_sampler=[batch.tolist() for batch in batches],
        num_workers=min(workers, len(batches)),
        collate_fn=_Collate(collate, packs=workers > 0),
        multiprocessing_context=_context() if workers and len(batches) else None,
        worker_init_fn=prepare_worker,
        # Its own generator: the loader draws a number at every start, and that must not come from the global one.
        generator=torch.Generator(),
    )
    leave_if_imported()
    with _signals_held_back():
        loaded = iter(loader)
    for batch in map(_unpacked, _explained(loaded)):
        if isinstance(batch, DataError):
            raise batch
        yield batch


def leave_if_imported() -> None:
    """End this process if it is a worker that is importing the user's script, and so runs what the script runs."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(f"refconv: a data worker imports the script that started it; {_GUARD}")


@contextmanager
def _signals_held_back() -> Iterator[None]:
    """Start processes that Ctrl-C and SIGTERM do not reach, and miss neither signal here.

    A terminal sends Ctrl-C to all processes of a group, and schedulers send SIGTERM so. The main process decides when
    to stop and then ends its workers; if they went first, it could not finish its step. A signal that is blocked here
    is delivered afterwards, and new processes inherit the block from their first moment on.
    """
    if sys.platform == "win32":  # no signals can be held back there; workers ignore them once they run
        yield
    else:
        resource_tracker.ensure_running()  # before: when it starts, it blocks and unblocks the same signals
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def prepare_worker(worker: int) -> None:
    """Let a worker ignore signals, also where its fork server was started by somebody else, and end with its parent.

    torch's own workers look whether they still have the parent that they began with; theirs would be the fork server,
    which outlives a main process that was killed.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None  # this is a process that multiprocessing started
    parent.join()
    os._exit(1)


def _explained(batches: Iterator[Any]) -> Iterator[Any]:
    """Yield the batches, and say in one line if a worker died."""
    try:
        yield from batches
    except RuntimeError as error:
        if "DataLoader worker" not in str(error):
            raise
        raise _died(error) from error


def _died(error: Exception) -> DataError:
    remedy = "give it more memory (in a container also /dev/shm), or use fewer workers, 0 uses none; in a script, "
    return DataError("a data worker died", where="workers", found=str(error), remedy=remedy + _GUARD)


@dataclasses.dataclass(frozen=True)
class _Guarded(Dataset[Any]):
    """Returns a :class:`DataError` in place of a sample: raised in a worker, torch would bury it in a traceback."""

    samples: SampleSource

    def __getitem__(self, index: int) -> Any:
        try:
            return self.samples[index]
        except DataError as error:
            return error


@dataclasses.dataclass(frozen=True)
class _Packed:
    """A batch on its way from a worker: pickled, its tensors in shared memory or, where that is full, inside."""

    content: bytes
    shared: bool


@dataclasses.dataclass(frozen=True)
class _Collate:
    """Makes a batch, and in a worker packs it there and then.

    The loader would move tensors to shared memory in a thread of its own, whose errors are lost: the main process
    would wait for the batch for ever. Containers have 64 MB of that memory, as a rule.
    """

    collate: Callable[[list[Any]], Any]
    packs: bool

    def __call__(self, samples: list[Any]) -> Any:
        unreadable = next((sample for sample in samples if isinstance(sample, DataError)), None)
        batch = self.collate(samples) if unreadable is None else unreadable
        if not self.packs:
            return batch
        try:
            return _Packed(bytes(ForkingPickler.dumps(batch)), shared=True)
        except RuntimeError:
            return _Packed(pickle.dumps(batch), shared=False)


def _unpacked(batch: Any) -> Any:
    """Return a batch as it was made."""
    if not isinstance(batch, _Packed):
        return batch
    if not batch.shared:
        what = "the shared memory of this machine is full, so data workers send copies, which takes longer"
        remedy = "give a container more of it, such as docker run --shm-size=2g, or use fewer workers"
        warnings.warn(f"workers: {what}; {remedy}", RefconvWarning, stacklevel=3)
    try:
        return pickle.loads(batch.content)  # a worker of this process made it
    except (EOFError, OSError) as error:  # it died before it handed over the shared memory of the batch
        raise _died(error) from error


def _context() -> BaseContext:
    """Return how workers start: never by forking a process that has threads and perhaps an accelerator.

    A fork server that has imported this file makes later workers in milliseconds; spawned ones take seconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["refconv.data.disk"])
    return context
