"""Samples for worker processes in which signals arrive: a module of its own, as workers import what they unpickle."""

import dataclasses
import os
import signal
import time

from refconv.errors import DataError


class Squares:
    """Samples that are the squares of their indices, but for those that cannot be read."""

    def __init__(self, *unreadable):
        self.unreadable = unreadable

    def __getitem__(self, index):
        if index in self.unreadable:
            raise DataError(
                "unreadable", where=f"sample {index}", expected="a square", found="nothing", remedy="mend it"
            )
        return index**2


class Signalled:
    """Squares; Ctrl-C and SIGTERM come while the worker starts, before anything of torch's runs, and at each sample."""

    def __getitem__(self, index):
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)
        return index**2

    def __getstate__(self):
        return {"main": os.getpid()}

    def __setstate__(self, state):
        for number in (signal.SIGINT, signal.SIGTERM):
            os.kill(os.getpid(), number)


class Dying:
    """Samples at the first of which the worker is killed."""

    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


@dataclasses.dataclass(frozen=True)
class Made:
    """Samples that say which process made them, from what it was sent and in which epoch."""

    values: tuple | list
    epoch: int = 0

    def __getitem__(self, index):
        return os.getpid(), self.epoch, self.values[index]


class Slow:
    """Samples that take their time, in seconds."""

    def __init__(self, seconds):
        self.seconds = seconds

    def __getitem__(self, index):
        time.sleep(self.seconds)
        return index
