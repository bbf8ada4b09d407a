"""A script in several processes, as torchrun starts them but without the seconds that torchrun itself takes."""

import os
import signal
import time

from torch.distributed import TCPStore

from ready_processes import Script


def several_processes(count, script, *arguments, seconds=300):
    """Run a script in so many processes, forked from one that is ready; return what each printed. All must end well."""
    done = forked_together(count, running(script), *arguments, seconds=seconds, alone=0.0)
    assert [one.returncode for one in done] == [0] * count, "\n".join((one.stdout + one.stderr)[-3000:] for one in done)
    return [one.stdout for one in done]


def running(script):
    """Return code that runs a script."""
    return f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"


def forked_together(count, code, *arguments, seconds=300, alone=None, hangs=None, launched=True):
    """Run code in so many processes, forked from one that is ready; return how each ended and what it printed.

    They are killed after ``seconds``; the others ``alone`` seconds after the first that fails; and one that ``hangs``,
    by its rank, as soon as the others have ended. Unless they are ``launched`` as by torchrun, the first process holds
    the store where they meet.
    """
    store, environments = _group(count, launched=launched)
    processes = [Script(code, *arguments, environment=environment) for environment in environments]
    _wait_for([process for rank, process in enumerate(processes) if rank != hangs], seconds, alone)
    _wait_for(processes, 0.0)
    del store
    return [process.wait() for process in processes]


def _group(count, *, launched):
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


def _wait_for(processes, seconds, alone=None):
    """Wait until all have ended; kill them after ``seconds``, and ``alone`` seconds after the first that fails."""
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes):
        if alone is not None and any(process.poll() for process in processes):
            end = min(end, time.monotonic() + alone)
        if time.monotonic() > end:
            for process in processes:
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)
