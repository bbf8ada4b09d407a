"""A script in two processes, as torchrun starts them but without the seconds that torchrun itself takes."""

import os
import signal
import socket
import time

from ready_processes import Script


def two_processes(script, *arguments, seconds=300):
    """Run a script in two processes and return what each printed; both must end well."""
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    group = {"MASTER_ADDR": "localhost", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    code = f"import runpy; runpy.run_path({str(script)!r}, run_name='__main__')"
    processes = [Script(code, *arguments, environment={**group, "RANK": rank, "LOCAL_RANK": rank}) for rank in "01"]
    end = time.monotonic() + seconds
    while any(process.poll() is None for process in processes):
        if time.monotonic() > end or any(process.poll() for process in processes):  # one failed: end the other
            for process in processes:
                if process.poll() is None:
                    os.kill(process.pid, signal.SIGKILL)
        time.sleep(0.02)
    done = [process.wait() for process in processes]
    assert [one.returncode for one in done] == [0, 0], "\n".join((one.stdout + one.stderr)[-3000:] for one in done)
    return [one.stdout for one in done]
