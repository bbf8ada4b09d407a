"""Worker processes: how they start, that signals do not reach them, and that they end with the process they work for.

Nothing here imports torch, so that the process that makes workers can start before it is imported here.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.context import BaseContext

from refconv.process.interruption import SIGNALS

GUARD = 'call refconv below if __name__ == "__main__":'
"""What a script must do whose data is read by workers, as they import it."""


@atexit.register  # after multiprocessing's own, and so called before it
def _kill_workers() -> None:
    """End workers that are left when this process exits, as when an error that is still referred to holds their loader.

    multiprocessing sends SIGTERM to daemonic processes, which workers do not hear, and waits for them.
    """
    for process in multiprocessing.active_children():
        if process.daemon:
            process.kill()


def leave_if_imported() -> None:
    """End this process if it is a worker that is importing the user's script, and so runs what the script runs."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        raise SystemExit(f"refconv: a data worker imports the script that started it; {GUARD}")


@contextmanager
def signals_held_back() -> Iterator[None]:
    """Start processes that Ctrl-C and SIGTERM do not reach, and miss neither signal here.

    A terminal sends Ctrl-C to all processes of a group, and schedulers send SIGTERM so. The main process decides when
    to stop and then ends its workers; if they went first, it could not finish its step. A signal that is blocked here
    is delivered afterwards, and new processes inherit the block from their first moment on.
    """
    if sys.platform == "win32":  # no signals can be held back there; workers ignore them once they run
        yield
    else:
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            resource_tracker.ensure_running()  # it ignores SIGINT and SIGTERM alone, and unblocks both here
            signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
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


def worker_context() -> BaseContext:
    """Return how workers start: never by forking a process that has threads and perhaps an accelerator.

    A fork server that has imported this file makes later workers in milliseconds; spawned ones take seconds.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["refconv.data.disk"])
    return context


def start_ahead() -> None:
    """Let the process that makes workers import what they need while this one imports the rest, both for seconds."""
    if worker_context().get_start_method() == "forkserver":
        from multiprocessing import forkserver

        with signals_held_back():
            forkserver.ensure_running()
