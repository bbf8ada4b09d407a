"""A script in several processes, as torchrun starts them but without the seconds that torchrun itself takes."""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from torch.distributed import TCPStore


def several_processes(count, script, *arguments, seconds=300):
    """Run a script in so many processes and return what each printed; all must end well."""
    ended = processes_that_may_fail(count, script, *arguments, seconds=seconds, alone=0.0)
    assert [status for status, _ in ended] == [0] * count, "\n".join(text[-3000:] for _, text in ended)
    return [text for _, text in ended]


def processes_that_may_fail(count, script, *arguments, seconds=300, alone=None):
    """Run a script in so many processes; return the exit status of each, negative after a signal, and what it printed.

    They are killed after ``seconds``, and the others ``alone`` seconds after the first that fails; None waits for them.
    """
    store = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # held by the launcher, as torchrun does
    group = {
        "MASTER_ADDR": "localhost",
        "MASTER_PORT": str(store.port),
        "WORLD_SIZE": str(count),
        "OMP_NUM_THREADS": "1",
    }
    group |= {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    command = [sys.executable, str(script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for rank in range(count):
            with (Path(folder) / str(rank)).open("w") as file:
                own = {**os.environ, **group, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                processes.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=own))
        end = time.monotonic() + seconds
        while any(process.poll() is None for process in processes):
            if alone is not None and any(process.poll() for process in processes):
                end = min(end, time.monotonic() + alone)
            if time.monotonic() > end:
                for process in processes:
                    process.kill()
            time.sleep(0.02)
        printed = [(Path(folder) / str(rank)).read_text(encoding="utf-8") for rank in range(count)]
    return [(process.returncode, text) for process, text in zip(processes, printed, strict=True)]
