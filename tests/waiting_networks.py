"""A network that no run finishes before its signal comes: a module of its own, as every process of a run imports it."""

import os
import signal
import time
from pathlib import Path

from refconv.engine import epochs
from refconv.models.networks import mobilenet_small
from refconv.process import interruption

STEP = "REFCONV_TEST_STEP"
"""In the environment: the step, counted over all runs of a process, in which it waits for a signal."""

HELD = "REFCONV_TEST_HELD"
"""In the environment: a folder where the process notes that it waits, and that it heard one; it waits for another then.
"""

_SECONDS = 900  # after which a process that no signal reached goes on, and its test has failed
_steps = 0


def small(**settings):
    """Return a small network; where the variables are set, its forward waits as they say."""
    network = mobilenet_small(**{"width": 0.125, **settings})
    if STEP in os.environ:
        epochs.PATIENCE = _SECONDS  # for the step: how fast the machine is does not matter
        network.register_forward_pre_hook(_wait)
    return network


def _wait(network, inputs):
    global _steps
    in_a_run = isinstance(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), interruption.Interruption)
    if not (network.training and in_a_run):
        return
    _steps += 1
    end = time.monotonic() + _SECONDS
    while _steps >= int(os.environ[STEP]) and time.monotonic() < end:
        if HELD in os.environ:
            Path(os.environ[HELD], "heard" if interruption._asked else "waits", str(os.getpid())).touch()
        elif interruption._asked:
            return
        time.sleep(0.01)
