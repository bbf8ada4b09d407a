"""Ctrl-C and the terminating signal: remembered, so that the loop can finish its step and write a checkpoint."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from refconv.errors import RunError

PATIENCE = 10.0  #: Seconds that a step may take to end after SIGTERM; schedulers kill after 30 seconds, as a rule
INTERRUPTED = 130  #: Exit status of a process that was asked to stop


class StoppedError(RunError):
    """A run that was asked to stop, and can be resumed."""


class Interruption:
    """Remembers, while it is entered in the main thread, that Ctrl-C was pressed or the process asked to terminate.

    A second Ctrl-C interrupts at once, but not the ``patient`` processes of torchrun, which get each signal twice.

    After SIGTERM the process does not wait for a backward pass of minutes, in which no Python code runs and so no
    handler either: after ``patience`` seconds a thread calls ``overdue``, as soon as the main thread is where
    :meth:`may_be_left` allows it. That call ends the process with the weights that the last whole step left.
    """

    def __init__(
        self, *, patient: bool = False, patience: float = PATIENCE, overdue: Callable[[], None] | None = None
    ) -> None:
        self.signal: signal.Signals | None = None
        self._patient, self._patience, self._overdue = patient, patience, overdue
        self._former: dict[signal.Signals, Any] = {}
        self._changing = threading.Lock()  # held by the main thread while it changes weights or writes files
        self._timer: threading.Timer | None = None

    @property
    def word(self) -> str:
        """What happened, for messages."""
        return "SIGTERM" if self.signal is signal.SIGTERM else "Ctrl-C"

    def __enter__(self) -> Interruption:
        self._changing.acquire()
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT, signal.SIGTERM)
            self._former = {number: signal.signal(number, self._remember) for number in numbers}
        return self

    def __exit__(self, *raised: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    @contextmanager
    def may_be_left(self) -> Iterator[Callable[[], None]]:
        """Allow the process to end within the block; it gives what ends this permission before the block does."""
        kept = False

        def keep(*_: object) -> None:
            nonlocal kept
            if not kept:
                self._changing.acquire()
                kept = True

        self._changing.release()
        try:
            yield keep
        finally:
            keep()

    def _remember(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; the second Ctrl-C interrupts."""
        first, self.signal = self.signal is None, self.signal or signal.Signals(number)
        if number == signal.SIGTERM and self._overdue is not None and self._timer is None:
            self._timer = threading.Timer(self._patience, self._leave, (self._overdue,))
            self._timer.daemon = True
            self._timer.start()
        if not first and number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt

    def _leave(self, overdue: Callable[[], None]) -> None:
        with self._changing:
            overdue()


def leave(words: str | None) -> NoReturn:
    """End the process at once, with its workers and a last line on standard error, while its main thread is busy."""
    try:
        if words is not None:
            print(f"refconv: {words}", file=sys.stderr, flush=True)
        sys.stdout.flush()
        from multiprocessing import active_children  # help must not wait for it

        for child in active_children():
            child.kill()
    finally:
        os._exit(INTERRUPTED)
