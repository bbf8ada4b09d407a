"""Processes that run a script as ``python -c`` would, without the seconds in which torch and others are imported.

One process per run of the tests imports them when it is first asked, and forks for each script, before anything has
used them: no threads of torch, no data workers, no fork server of multiprocessing, signals as they are in a new
interpreter. It listens at a socket, so that all workers of pytest-xdist can ask the same process.
"""

import atexit
import gc
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

ADDRESS = "REFCONV_TEST_FORKS"
"""In the environment: the socket of the process that forks, for the process that started it and those below it."""

_SERVED = "import ready_processes; ready_processes.serve()"


def run_script(code, *arguments, **settings):
    """Run a :class:`Script` and return its :class:`subprocess.CompletedProcess`, with its output."""
    return Script(code, *arguments, **settings).wait()


class Script:
    """A script that runs in a process of its own.

    Args:
        code: what ``python -c`` would be given.
        *arguments: what follows it.
        cwd: the current folder of the process, that of this one by default.
        environment: what is added to the environment of this process.
        without_refconv: whether the script imports refconv itself, and only its dependencies are there before.
    """

    def __init__(self, code, *arguments, cwd=None, environment=None, without_refconv=False):
        self._folder = tempfile.TemporaryDirectory()
        self._arguments = [*map(str, arguments)]
        self.returncode = None
        self.pid = _answered({
            "code": code, "arguments": self._arguments, "cwd": str(cwd or Path.cwd()), "folder": self._folder.name,
            "environment": {**os.environ, **(environment or {})}, "without_refconv": without_refconv,
        })  # fmt: skip

    def poll(self):
        """Return the status of a process that has ended, or None."""
        if self.returncode is None:
            self.returncode = _answered(self.pid)
        return self.returncode

    def wait(self, seconds=math.inf):
        """Wait for the end, and return what :func:`run_script` does; a process that takes longer is killed."""
        end = time.monotonic() + seconds
        while self.poll() is None:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(0.02)
        out, err = (Path(self._folder.name, name).read_text(encoding="utf-8") for name in ("out", "err"))
        self._folder.cleanup()
        return subprocess.CompletedProcess(["-c", *self._arguments], self.returncode, out, err)


def start():
    """Start the process that forks, unless this process or one above it has; it ends when this process does."""
    if ADDRESS in os.environ:
        return
    folder = tempfile.TemporaryDirectory()
    address = os.environ[ADDRESS] = str(Path(folder.name, "socket"))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen()
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        server = subprocess.Popen(
            [sys.executable, "-c", _SERVED, str(listening.fileno())],
            stdin=subprocess.PIPE,
            pass_fds=[listening.fileno()],
            env={**os.environ, "PYTHONPATH": path},
        )
    atexit.register(folder.cleanup)
    atexit.register(server.communicate)


def _answered(asked):
    """Return what the process that forks answers."""
    start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(os.environ[ADDRESS])
        with connection.makefile("rw", encoding="utf-8") as lines:
            lines.write(json.dumps(asked) + "\n")
            lines.flush()
            return json.loads(lines.readline())


def serve():
    """Answer until the process that started this one ends: fork for a script, say the status of a process by number."""
    listening = socket.socket(fileno=int(sys.argv[1]))
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [])
        if sys.stdin in ready:
            os._exit(0)  # without tidying up all that was imported
        connection, _ = listening.accept()
        with connection, connection.makefile("rw", encoding="utf-8") as lines:
            asked = json.loads(lines.readline())
            answer = _status(asked) if isinstance(asked, int) else _forked(asked, [listening, connection])
            lines.write(json.dumps(answer) + "\n")


def _status(pid):
    """Return the status of a process that has ended, or None."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if ended else None


def _forked(asked, sockets):
    """Return the number of a new process that runs a script, without these sockets."""
    import sklearn.datasets  # noqa: F401  # of which the digits are

    import refconv.cli.training  # noqa: F401
    import refconv.engine.loop  # noqa: F401

    gc.collect()
    gc.freeze()
    pid = os.fork()
    if not pid:
        for one in sockets:
            one.close()
        os._exit(_run(**asked))
    return pid


def _run(code, arguments, cwd, folder, environment, without_refconv):
    """Run a script in this process, which ends with the status that is returned."""
    for number, name in ((0, os.devnull), (1, Path(folder, "out")), (2, Path(folder, "err"))):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.stdin = os.fdopen(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    if without_refconv:
        for name in [name for name in sys.modules if name.partition(".")[0] == "refconv"]:
            del sys.modules[name]
    sys.argv = ["-c", *arguments]
    main = sys.modules["__main__"]
    status = 0
    try:
        exec(compile(code, "<string>", "exec"), main.__dict__)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001  # as the interpreter does with whatever a script raises
        traceback.print_exc()
        status = 1
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return status
