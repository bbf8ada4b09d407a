"""A script in several processes, as torchrun starts them but without the seconds that torchrun itself takes."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torch.distributed import TCPStore

from ready_processes import Script


def several_processes(count, script, *arguments, seconds=300):
    """Run a script in so many processes, forked from one that is ready; return what each printed. All must end well."""
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    done = forked_together(count, code, *arguments, seconds=seconds, alone=0.0)
    assert [one.returncode for one in done] == [0] * count, "\n".join((one.stdout + one.stderr)[-3000:] for one in done)
    return [one.stdout for one in done]


def forked_together(count, code, *arguments, seconds=300, alone=None):
    """Run code in so many processes, forked from one that is ready; return how each ended and what it printed."""
    store, environments = _group(count)
    processes = [Script(code, *arguments, environment=environment) for environment in environments]
    _wait_for(processes, seconds, alone)
    del store
    return [process.wait() for process in processes]


def processes_that_may_fail(count, script, *arguments, seconds=300, alone=None, launched=True):
    """Run a script in so many new processes; return the exit status of each, negative after a signal, and its output.

    They are killed after ``seconds``, and the others ``alone`` seconds after the first that fails; None waits for them.
    Unless they are ``launched`` as by torchrun, the first process holds the store where they meet.
    """
    store, environments = _group(count, launched=launched)
    command = [sys.executable, str(script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for rank, environment in enumerate(environments):
            with (Path(folder) / str(rank)).open("w") as file:
                own = {**os.environ, **environment}
                processes.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=own))
        _wait_for(processes, seconds, alone)
        del store
        printed = [(Path(folder) / str(rank)).read_text(encoding="utf-8") for rank in range(count)]
    return [(process.returncode, text) for process, text in zip(processes, printed, strict=True)]


def _group(count, *, launched=True):
    """Return the store where so many processes meet, to be held until they end, and what tells each where it is."""
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # held by the launcher, as torchrun does
    shared = {
        "MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port), "WORLD_SIZE": str(count), "OMP_NUM_THREADS": "1",
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0",
    }  # fmt: skip
    if not launched:
        del store, shared["TORCHELASTIC_USE_AGENT_STORE"]  # whose port is free now
        store = None
    return store, [{**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(count)]


def _wait_for(processes, seconds, alone):
    """Wait until all have ended, and kill them as :func:`processes_that_may_fail` says."""
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes):
        if alone is not None and any(process.poll() for process in processes):
            end = min(end, time.monotonic() + alone)
        if time.monotonic() > end:
            for process in processes:
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)
