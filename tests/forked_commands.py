"""``refconv`` in many processes forked from one that has imported everything, each with a fault of its own.

A fork takes milliseconds where a start takes seconds, so that a test can try every operation of a run.
"""

import atexit
import contextlib
import dataclasses
import gc
import json
import os
import resource
import subprocess
import sys
import threading
import traceback
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class Ran:
    """A command that has ended."""

    status: int  # negative: the signal that ended it
    out: str
    err: str
    operations: list[str]  # on files beneath the folder watched

    @property
    def lines(self):
        """The lines on standard error that are no warnings."""
        return [line for line in self.err.splitlines() if not line.startswith("refconv: warning: ")]


class Forks:
    """Runs commands; ``before`` is Python code that the first process executes."""

    def __init__(self, folder, before=""):
        self._folder = Path(folder)
        self._server = subprocess.Popen(
            [sys.executable, __file__, before], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    def run(self, arguments, *, root=None, at=0, fault=None, first="", out=None, learn=False):
        """Run ``refconv``, after the Python code ``first``; a fault counts operations on files beneath ``root``."""
        arguments = [os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in arguments]
        job = {
            "arguments": arguments, "root": None if root is None else str(root), "at": at, "fault": fault,
            "first": first, "place": str(self._folder), "out": None if out is None else str(out), "learn": learn,
        }  # fmt: skip
        self._server.stdin.write(json.dumps(job) + "\n")
        self._server.stdin.flush()
        status = json.loads(self._server.stdout.readline())
        texts = [(self._folder / name).read_text(errors="replace") for name in ("stdout", "stderr")]
        noted = self._folder / "operations"
        operations = noted.read_text(errors="surrogateescape").splitlines() if noted.is_file() else []
        return Ran(status, *texts, operations)

    def learn(self, arguments):
        """Let the first process import what a command imports, so that later ones need not."""
        ran = self.run(arguments, learn=True)
        assert ran.status == 0, ran.err
        return ran

    def close(self):
        """End the first process."""
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()


def _serve():
    exec(sys.argv[1], {})

    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        job = json.loads(line)
        place = Path(job["place"])
        (place / "operations").unlink(missing_ok=True)
        (place / "modules").unlink(missing_ok=True)
        gc.collect()
        gc.freeze()
        child = os.fork()
        if not child:
            answers.close()
            _redirect(job, place)
            _leave(_child(job, place))
        _, status = os.waitpid(child, 0)
        if job["learn"] and (place / "modules").is_file():
            for name in (place / "modules").read_text().split():
                with contextlib.suppress(Exception):  # some parts of packages are there for other machines
                    __import__(name)
        print(json.dumps(os.waitstatus_to_exitcode(status)), file=answers, flush=True)


def _leave(status):
    """End a child as an interpreter ends, without tidying up the memory of all that was imported."""
    threading._shutdown()
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
    except OSError:
        status = 120  # as Python does
    os._exit(status)


def _redirect(job, place):
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, job["out"] or place / "stdout"), (2, place / "stderr")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)


def _child(job, place):
    from faulty_files import FaultyFiles

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    modules = set(sys.modules)
    faults = None
    if job["root"] is not None:
        faults = FaultyFiles(job["root"], at=job["at"], fault=job["fault"])
    exec(job["first"], {"faults": faults})
    if faults is not None:
        faults.begin()
    try:
        from refconv.cli import app

        return app.main(job["arguments"])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:  # noqa: BLE001  # whatever would end an interpreter
        traceback.print_exc()
        return 1
    finally:
        if faults is not None:
            noted = list(faults.operations)
            with (place / "operations").open("w", errors="surrogateescape") as file:
                file.write("".join(f"{one}\n" for one in noted))
        if job["learn"]:
            with (place / "modules").open("w") as file:
                file.write("\n".join(name for name in sys.modules if name not in modules and name[0] != "_"))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    _serve()
