"""A script in two processes, as torchrun starts them but without the seconds that torchrun itself takes."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def two_processes(script, *arguments, seconds=300):
    """Run a script in two processes and return what each printed; both must end well."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(script), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:
        processes = []
        for rank in "01":
            with (Path(folder) / rank).open("w") as file:
                own = {**os.environ, **group, "RANK": rank, "LOCAL_RANK": rank}
                processes.append(subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=own))
        end = time.monotonic() + seconds
        while any(process.poll() is None for process in processes):
            if time.monotonic() > end or any(process.poll() for process in processes):  # one failed: end the other
                for process in processes:
                    process.kill()
            time.sleep(0.02)
        printed = [(Path(folder) / rank).read_text(encoding="utf-8") for rank in "01"]
    assert [process.returncode for process in processes] == [0, 0], "\n".join(text[-3000:] for text in printed)
    return printed
