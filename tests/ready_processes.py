"""Processes that run a script as ``python -c`` would, without the five seconds in which torch and timm are imported.

One process per run of the tests imports them and forks for each script, before anything has used them: no threads of
torch, no data workers, no fork server of multiprocessing, signals as they are in a new interpreter.
"""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

_SERVED = "import ready_processes; ready_processes.serve()"
_server = None


def run_script(code, *arguments, cwd=None, environment=None):
    """Run a script in a process of its own and return its :class:`subprocess.CompletedProcess`, with its output."""
    return Script(code, *arguments, cwd=cwd, environment=environment).wait()


class Script:
    """A script that runs in a process of its own."""

    def __init__(self, code, *arguments, cwd=None, environment=None):
        self._folder = tempfile.TemporaryDirectory()
        self._arguments = [*map(str, arguments)]
        self.returncode = None
        self.pid = _answered({
            "code": code, "arguments": self._arguments, "cwd": str(cwd or Path.cwd()), "folder": self._folder.name,
            "environment": {**os.environ, **(environment or {})},
        })  # fmt: skip

    def poll(self):
        """Return the status of a process that has ended, or None."""
        if self.returncode is None:
            self.returncode = _answered(self.pid)
        return self.returncode

    def wait(self):
        """Wait for the end, and return what :func:`run_script` does."""
        while self.poll() is None:
            time.sleep(0.01)
        out, err = (Path(self._folder.name, name).read_text(encoding="utf-8") for name in ("out", "err"))
        self._folder.cleanup()
        return subprocess.CompletedProcess(["-c", *self._arguments], self.returncode, out, err)


def _answered(asked):
    """Return what the process that forks answers to a line."""
    server = _started()
    server.stdin.write(json.dumps(asked) + "\n")
    server.stdin.flush()
    return json.loads(server.stdout.readline())


def _started():
    """Return the process that forks, which belongs to this process."""
    global _server
    if _server is None:
        path = os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])
        _server = subprocess.Popen(
            [sys.executable, "-c", _SERVED],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )
        atexit.register(_server.communicate)
    return _server


def serve():
    """Fork for each line that asks for a script, and say the status where a line is the number of a process."""
    import refconv.engine.loop  # noqa: F401

    for line in sys.stdin:
        asked = json.loads(line)
        if isinstance(asked, int):
            ended, status = os.waitpid(asked, os.WNOHANG)
            print(json.dumps(os.waitstatus_to_exitcode(status) if ended else None), flush=True)
            continue
        pid = os.fork()
        if not pid:
            os._exit(_run(**asked))
        print(pid, flush=True)


def _run(code, arguments, cwd, folder, environment):
    """Run a script in this process, which ends with the status that is returned."""
    for number, name in ((0, os.devnull), (1, Path(folder, "out")), (2, Path(folder, "err"))):
        os.dup2(os.open(name, os.O_RDWR | os.O_CREAT | os.O_TRUNC), number)
    sys.stdin = os.fdopen(0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
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
