"""``refconv`` in a process that interrupts itself at a certain step or line, whatever the speed of the machine."""

import signal

from ready_processes import run_script

_SCRIPT = """
import os, signal, sys
from refconv.cli import main
from refconv.studies.estimate import Board
from refconv.engine.stepping import Stepper
unit, at, *numbers = sys.argv[1].split("=")
numbers = [int(number) for number in numbers]
def counted(kind, name):
    original, calls = getattr(kind, name), []
    def counting(self, *arguments):
        found = original(self, *arguments)
        calls.append(name)
        if len(calls) == int(at):
            for number in numbers:
                os.kill(os.getpid(), number)
        return found
    setattr(kind, name, counting)
counted(*{"step": (Stepper, "step"), "line": (Board, "say")}[unit])
sys.exit(main(sys.argv[2:]))
"""


def interrupted(arguments, *, step=None, line=None, signals=(signal.SIGINT,)):
    """Run a command that gets Ctrl-C, or other signals at once, after its so many-th step, or so many-th line.

    Steps are counted over all runs that this process executes.
    """
    unit, at = ("step", step) if line is None else ("line", line)
    when = "=".join(map(str, [unit, at, *map(int, signals)]))
    return run_script(_SCRIPT, when, *arguments)
