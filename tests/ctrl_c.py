"""``refconv`` in a process that interrupts itself at a certain step, whatever the speed of the machine."""

import signal

from ready_processes import run_script

_SCRIPT = """
import os, signal, sys
from refconv.cli import main
from refconv.engine.stepping import Stepper
at, *numbers = map(int, sys.argv[1].split("="))
honest, taken = Stepper.step, []
def step(self, *arguments):
    found = honest(self, *arguments)
    taken.append(found)
    if len(taken) == at:
        for number in numbers:
            os.kill(os.getpid(), number)
    return found
Stepper.step = step
sys.exit(main(sys.argv[2:]))
"""


def interrupted(arguments, *, step, signals=(signal.SIGINT,)):
    """Run a command that gets Ctrl-C, or other signals at once, after its so many-th step.

    Steps are counted over all runs that this process executes.
    """
    when = "=".join(map(str, [step, *map(int, signals)]))
    return run_script(_SCRIPT, when, *arguments)
