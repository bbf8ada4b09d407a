"""Signals that ask to stop: remembered, so that the loop can finish its step and write a checkpoint."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from refconv.errors import RunError, printable

PATIENCE = 10.0  #: Seconds that a step may take to end after a signal; schedulers kill after 30 seconds, as a rule
INTERRUPTED = 130  #: Exit status after Ctrl-C; after another signal 128 and its number, as shells say it

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name))
"""Ctrl-C, the terminating signal, that of a terminal that is closed, and Slurm's before a time limit."""

_asked: list[signal.Signals] = []  #: Signals that asked this process to stop


def status_of_stop() -> int:
    """Return the exit status of a process that stopped because it was asked to."""
    return 128 + _asked[0] if _asked else INTERRUPTED


class StoppedError(RunError):
    """A run that was asked to stop, and can be resumed."""


class Interruption:
    """Remembers, while it is entered in the main thread, that one of :data:`SIGNALS` came.

    A second Ctrl-C interrupts at once, but not the ``patient`` processes of torchrun, which get each signal twice. A
    signal that the process was told to ignore, as SIGHUP by nohup, stays ignored.

    The process does not wait for a backward pass of minutes, in which no Python code runs and so no handler either:
    after ``patience`` seconds a thread calls ``overdue``, as soon as the main thread is where :meth:`may_be_left`
    allows it. That call ends the process with the weights that the last whole step left.
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
        return "Ctrl-C" if self.signal in {None, signal.SIGINT} else self.signal.name

    def __enter__(self) -> Interruption:
        self._changing.acquire()
        if threading.current_thread() is threading.main_thread():
            self._former = _handled(self._remember)
        return self

    def __exit__(self, *raised: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        _put_back(self._former)
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
        _asked.append(signal.Signals(number))
        if self._overdue is not None and self._timer is None:
            self._timer = threading.Timer(self._patience, self._leave, (self._overdue,))
            self._timer.daemon = True
            self._timer.start()
        if not first and number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt

    def _leave(self, overdue: Callable[[], None]) -> None:
        with self._changing:
            overdue()


@contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt at the first of :data:`SIGNALS` within the block, as Python does at Ctrl-C.

    What is written then is not cut short by another signal, as where Slurm sends SIGTERM after SIGUSR1, but by Ctrl-C.
    """
    heard: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        _asked.append(signal.Signals(number))
        heard.append(number)
        if len(heard) == 1 or number == signal.SIGINT:
            raise KeyboardInterrupt

    here = threading.current_thread() is threading.main_thread()
    former = _handled(interrupt) if here else {}
    try:
        yield
    finally:
        _put_back(former)


def _handled(handler: Callable[[int, FrameType | None], None]) -> dict[signal.Signals, Any]:
    """Let a handler get the signals that are not ignored; return the handlers of before."""
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _put_back(former: dict[signal.Signals, Any]) -> None:
    for number, handler in former.items():
        signal.signal(number, handler)


def last_words(line: str) -> None:
    """Print why this process ends on standard error, which is gone with a terminal that was closed."""
    with suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def leave(words: str | None) -> NoReturn:
    """End the process at once, with its workers and a last line on standard error, while its main thread is busy."""
    try:
        if words is not None:
            last_words(f"refconv: {printable(words)}")
        sys.stdout.flush()
        from multiprocessing import active_children  # help must not wait for it

        for child in active_children():
            child.kill()
    finally:
        os._exit(status_of_stop())
