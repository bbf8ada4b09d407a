"""Processes that end themselves by SIGKILL at drawn moments of training, counted in events of the interpreter.

Calls and returns are counted, those of functions in C included, on the thread that trains and from the beginning of
``train`` on: which moment it is does not depend on the speed of the machine.
"""

import atexit
import os
import signal
import sys
from pathlib import Path


def count_moments(noted, at=0):
    """Count until the process ends, and write the count to a file; or kill the process at the ``at``-th moment."""
    from refconv.engine.loop import train

    begins, count = train.__code__, 0

    def passed(frame, event, argument):
        nonlocal count
        if not count and frame.f_code is not begins:
            return
        count += 1
        if count == at:
            os.kill(os.getpid(), signal.SIGKILL)

    atexit.register(lambda: Path(noted).write_text(str(count)))
    os.register_at_fork(after_in_child=lambda: sys.setprofile(None))  # workers are not counted
    sys.setprofile(passed)


def drawn_moments(generator, noted, number):
    """Return so many moments of a run that was counted, one drawn from each of as many equal parts of it.

    Waiting for another process takes some events more or fewer, up to one in ten thousand: the last thousandth is left
    out, so that every moment is reached.
    """
    count = int(Path(noted).read_text()) * 999 // 1000
    return [generator.randrange(1 + part * count // number, 1 + (part + 1) * count // number) for part in range(number)]
