"""Ctrl-C and the terminating signal: remembered, so that the loop can finish its step and write a checkpoint."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from refconv.errors import RunError


class StoppedError(RunError):
    """A run that was asked to stop, and can go on."""


class Interruption:
    """Remembers that Ctrl-C was pressed or the process was told to terminate, while it is entered.

    A second Ctrl-C interrupts at once. Not so in a process of torchrun's: there each process gets the terminal's signal
    and torchrun's as well. In a thread other than the main one signals cannot be caught, and nothing is changed.

    Args:
        patient: ignore further signals.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.signal: signal.Signals | None = None
        self._patient = patient
        self._former: dict[signal.Signals, Any] = {}

    @property
    def word(self) -> str:
        """What happened, for messages."""
        return "SIGTERM" if self.signal is signal.SIGTERM else "Ctrl-C"

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            numbers = (signal.SIGINT, signal.SIGTERM)
            self._former = {number: signal.signal(number, self._remember) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal.

        Raises:
            KeyboardInterrupt: at the second Ctrl-C.
        """
        if self.signal is None:
            self.signal = signal.Signals(number)
        elif number == signal.SIGINT and not self._patient:
            raise KeyboardInterrupt
