"""``refconv`` in a process that interrupts itself at a certain step or line, whatever the speed of the machine."""

import subprocess
import sys

_SCRIPT = """
import os, signal, sys
from refconv.cli import main
from refconv.studies.estimate import Board
from refconv.engine.stepping import Stepper
unit, at = sys.argv[1].split("=")
def counted(kind, name):
    original, calls = getattr(kind, name), []
    def counting(self, *arguments):
        found = original(self, *arguments)
        calls.append(name)
        if len(calls) == int(at):
            os.kill(os.getpid(), signal.SIGINT)
        return found
    setattr(kind, name, counting)
counted(*{"step": (Stepper, "step"), "line": (Board, "say")}[unit])
sys.exit(main(sys.argv[2:]))
"""


def interrupted(arguments, *, step=None, line=None):
    """Run a command that gets Ctrl-C after its so many-th training step, or after a study's so many-th line.

    Steps are counted over all runs that this process executes.
    """
    when = f"step={step}" if line is None else f"line={line}"
    command = [sys.executable, "-c", _SCRIPT, when, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)
